"""How far a file is from the model: measured sample by sample, and held against what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .columns import Columns, Lost
from .errors import ExportError

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How far the artifact's outputs are from the model's.

    Attributes:
        max_abs: Largest absolute difference of any output.
        max_relative: The same, divided by the largest absolute value of that output of the model; of integers
            and truth values the share that differs.
        rms_relative: Root mean square of an output's differences by that of the model's output, of the worst
            output.
        samples: Number of inputs that were compared.
        column_relative: Differences of a column along the last axis, or along axis 1 of three, by how far the
            model's column varies, of the worst column that counts; see `export.columns`.
        agreement: Share of the samples for which both name the same class, where an output is a distribution
            over classes, of the worst output; else None.
        worst: Index of the sample with the largest `max_relative`.
    """

    max_abs: float
    max_relative: float
    rms_relative: float
    samples: int
    column_relative: float = 0.0
    agreement: float | None = None
    worst: int = 0


class Comparison:
    """Differences between an artifact and the model, over any number of samples in little memory.

    Args:
        producers: The kind of operation that computes an output, by its name, as far as known.
    """

    def __init__(self, producers: Mapping[str, str] | None = None) -> None:
        self._producers = producers or {}
        self._outputs: dict[str, _Output] = {}
        self._samples = 0

    def add(self, got: Sample, wanted: Sample, place: int) -> None:
        """Compare what both give for one batch of inputs, the one at a place in the data.

        Raises:
            ExportError: An output is missing, has another shape, or is not finite where the model's is.
        """
        if set(wanted) != set(got):
            raise ExportError(f"The file has the outputs {sorted(got)}, the model {sorted(wanted)}.")
        for name, value in wanted.items():
            if got[name].shape != value.shape:
                raise ExportError(
                    f"The file's output {name!r} has the shape {got[name].shape}, the model's {value.shape}."
                )
            if np.any(np.isfinite(value) & ~np.isfinite(got[name])):
                raise ExportError(
                    f"The file's output {name!r} is not finite where the model's is, for sample {place}."
                )
            if name not in self._outputs:
                self._outputs[name] = _Output(name, self._producers.get(name, ""))
            self._outputs[name].add(got[name], value, place)
        self._samples += 1

    @property
    def parity(self) -> Parity:
        """What was measured so far."""
        outputs = list(self._outputs.values())
        agreements = [a for o in outputs if (a := o.columns.agreement) is not None]
        return Parity(
            max_abs=_most([o.most_difference for o in outputs]),
            max_relative=_most([o.max_relative for o in outputs]),
            rms_relative=_most([o.rms_relative for o in outputs]),
            samples=self._samples,
            column_relative=_most([c.worst for o in outputs for c in o.by_column]),
            agreement=min(agreements, default=None),
            worst=max(outputs, key=lambda o: o.max_relative).worst if outputs else 0,
        )

    def lost(self, limit: float) -> list[Lost]:
        """The columns of each output that differ by more than `limit` of their own."""
        columns = [c for o in self._outputs.values() for c in o.by_column]
        return [lost for c in columns if (lost := c.lost(limit)) is not None]


class _Output:
    """Sums over the samples of one output."""

    def __init__(self, name: str, producer: str) -> None:
        self.columns, self._across = Columns(name, producer), Columns(name, producer, axis=1)
        self.most_difference = self.most_value = 0.0
        self.worst = 0
        self._squares = np.zeros(2)  # of differences, of values
        self._different = self._count = 0
        self._integers = False

    def add(self, got: np.ndarray, wanted: np.ndarray, place: int) -> None:
        finite = np.isfinite(wanted)
        wide, other = wanted.astype("float64"), got.astype("float64")
        # an infinity that both have is no measure of the other values
        value = np.where(finite, wide, 0.0)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            difference = np.where(other == wide, 0.0, other - wide)
        largest = float(np.max(np.abs(difference), initial=0.0))
        if not largest <= self.most_difference and not np.isnan(self.most_difference):
            self.worst = place
        self.most_difference = _most([self.most_difference, largest])
        self.most_value = _most([self.most_value, float(np.max(np.abs(value), initial=0.0))])
        with np.errstate(invalid="ignore"):
            self._squares += [np.sum(difference**2), np.sum(value**2)]
        self._different += int(np.count_nonzero(difference))
        self._count += difference.size
        self._integers = wanted.dtype.kind != "f"
        self.columns.add(difference, value)
        if value.ndim == 3:  # boxes and scores may lie along either axis
            self._across.add(np.moveaxis(difference, 1, 2), np.moveaxis(value, 1, 2))

    @property
    def by_column(self) -> list[Columns]:
        """What was measured along the last axis, and along the one before it, if that can mix units."""
        return [self.columns] if self.columns.one_unit else [self.columns, self._across]

    @property
    def max_relative(self) -> float:
        if self._integers:
            return self._different / max(1, self._count)
        return _ratio(self.most_difference, self.most_value)

    @property
    def rms_relative(self) -> float:
        return _ratio(float(np.sqrt(self._squares[0])), float(np.sqrt(self._squares[1])))


def compare(
    artifact: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    samples: Sequence[dict[str, np.ndarray]],
    expected: Sequence[dict[str, np.ndarray]],
    producers: Mapping[str, str] | None = None,
    places: Sequence[int] | None = None,
) -> Comparison:
    """Hold an artifact against the model on some inputs.

    Args:
        artifact: The loaded file: named inputs of batch size one to named outputs.
        samples: Inputs, each of batch size one.
        expected: What the model gives for each.
        producers: As for `Comparison`.
        places: Where in the data each is; 0, 1, … by default.

    Returns:
        The measured differences.

    Raises:
        ExportError: An output is missing, has another shape, or is not finite where the model's is.
    """
    found = Comparison(producers)
    where = range(len(samples)) if places is None else places
    for place, sample, wanted in zip(where, samples, expected, strict=True):
        found.add(artifact(sample), wanted, place)
    return found


def require(found: float, allowed: float, what: str, advice: str) -> None:
    """Raise ExportError unless a measured number is within what is allowed (and is a number)."""
    if not found <= allowed:
        raise ExportError(
            f"The file does not keep its contract: {what} is {found:.3g}; allowed is {allowed:.3g}. "
            f"Nothing was written. {advice}"
        )


def _ratio(difference: float, value: float) -> float:
    return difference / value if value else float(difference != 0)


def _most(numbers: list[float]) -> float:
    return float(np.max(numbers, initial=0.0))  # NaN if one is, where Python's max may pass it over
