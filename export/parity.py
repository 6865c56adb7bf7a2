"""How far a file is from the model: measured on golden inputs, and held against what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ExportError

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How far the artifact's outputs are from the model's.

    Attributes:
        max_abs: Largest absolute difference of any output.
        max_relative: The same, divided by the largest absolute value of that output of the model.
        rms_relative: Root mean square of an output's differences by that of the model's output, of the worst
            output.
        samples: Number of inputs that were compared.
    """

    max_abs: float
    max_relative: float
    rms_relative: float
    samples: int


def compare(
    artifact: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    samples: Sequence[dict[str, np.ndarray]],
    expected: Sequence[dict[str, np.ndarray]],
) -> Parity:
    """Hold an artifact against the model on golden inputs.

    Args:
        artifact: The loaded file: named inputs of batch size one to named outputs.
        samples: Golden inputs, each of batch size one.
        expected: What the model gives for each.

    Returns:
        The measured differences.

    Raises:
        ExportError: An output is missing, has another shape, or is not finite where the model's is.
    """
    differences: dict[str, list[np.ndarray]] = {}
    values: dict[str, list[np.ndarray]] = {}
    for sample, wanted in zip(samples, expected, strict=True):
        got = artifact(sample)
        if set(wanted) != set(got):
            raise ExportError(f"The file has the outputs {sorted(got)}, the model {sorted(wanted)}.")
        for name, value in wanted.items():
            if got[name].shape != value.shape:
                raise ExportError(
                    f"The file's output {name!r} has the shape {got[name].shape}, the model's {value.shape}."
                )
            finite = np.isfinite(value)
            if np.any(finite & ~np.isfinite(got[name])):
                raise ExportError(f"The file's output {name!r} is not finite where the model's is.")
            wide, other = value.astype("float64"), got[name].astype("float64")
            # an infinity that both have is no measure of the other values
            values.setdefault(name, []).append(np.where(finite, wide, 0.0))
            with np.errstate(invalid="ignore"):  # infinity less infinity
                differences.setdefault(name, []).append(np.where(other == wide, 0.0, other - wide))

    def relative(measure: Callable[[list[np.ndarray]], float]) -> float:
        pairs = [(measure(differences[name]), measure(values[name])) for name in values]
        return _most([d / v if v else float(d != 0) for d, v in pairs])

    most = _most([_largest(arrays) for arrays in differences.values()])
    return Parity(most, relative(_largest), relative(_rms), len(samples))


def require(found: float, allowed: float, what: str, advice: str) -> None:
    """Raise ExportError unless a measured number is within what is allowed (and is a number)."""
    if not found <= allowed:
        raise ExportError(
            f"The file does not keep its contract: {what} is {found:.3g}; allowed is {allowed:.3g}. "
            f"Nothing was written. {advice}"
        )


def _largest(arrays: list[np.ndarray]) -> float:
    return _most([float(np.max(np.abs(a), initial=0.0)) for a in arrays])


def _most(numbers: list[float]) -> float:
    return float(np.max(numbers, initial=0.0))  # NaN if one is, where Python's max may pass it over


def _rms(arrays: list[np.ndarray]) -> float:
    flat = np.concatenate([a.ravel() for a in arrays])
    return float(np.sqrt(np.mean(flat**2))) if flat.size else 0.0
