"""The contract of an artifact: it loads in LiteRT and computes what the model computes."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


class ExportError(RuntimeError):
    """An artifact does not keep its contract, or could not be made; nothing was written."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of an artifact: its name, shape (batch first) and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Parity:
    """How far the artifact's outputs are from the model's.

    Attributes:
        max_abs: Largest absolute difference of any output.
        max_relative: The same, divided by the largest absolute value of that output of the model.
        samples: Number of inputs that were compared.
    """

    max_abs: float
    max_relative: float
    samples: int


@dataclass(frozen=True)
class Report:
    """What was exported, and what was measured on it.

    Attributes:
        path: The file.
        precision: float32 or float16.
        size_bytes: Size of the file.
        sha256: Hash of the file.
        inputs: Inputs of its signature.
        outputs: Outputs of its signature.
        dtypes: How many tensors in the file have which dtype.
        labels: Names of the classes in the order of the output, or None.
        input_range: Lowest and highest value that the graph expects, or None if not said.
        preprocessing: Where it happens: "in the graph: …", "by the client: …" or "none".
        parity: Difference from the model.
        agreement: Share of the holdout on which both name the same class; None without a holdout.
        accuracy_model: The model's accuracy on the holdout, or None.
        accuracy_file: The file's accuracy on the holdout, or None.
        versions: Versions of keras, tensorflow and ai_edge_litert.
    """

    path: str
    precision: str
    size_bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    dtypes: dict[str, int]
    labels: tuple[str, ...] | None
    input_range: tuple[float, float] | None
    preprocessing: str
    parity: Parity
    agreement: float | None
    accuracy_model: float | None
    accuracy_file: float | None
    versions: dict[str, str]

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`."""
        content = json.loads(text)
        for key in ("inputs", "outputs"):
            content[key] = tuple(TensorInfo(t["name"], tuple(t["shape"]), t["dtype"]) for t in content[key])
        for key in ("labels", "input_range"):
            content[key] = None if content[key] is None else tuple(content[key])
        content["parity"] = Parity(**content["parity"])
        return cls(**content)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the notes that the converter and the runtime write by themselves off the terminal."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class LiteRTModel:
    """A .tflite file in the LiteRT runtime, called by input and output names.

    Args:
        path: The file.

    Raises:
        ExportError: LiteRT can't load it, for instance because it needs other than built-in operations.
    """

    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with quiet():
                self._interpreter = Interpreter(model_path=path, num_threads=1)
                self._interpreter.allocate_tensors()
            self._run = self._interpreter.get_signature_runner("serving_default")
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT can't load what the converter wrote: {error}") from error

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs of the signature."""
        return self._info(self._run.get_input_details())

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs of the signature."""
        return self._info(self._run.get_output_details())

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors have which dtype."""
        names = [np.dtype(t["dtype"]).name for t in self._interpreter.get_tensor_details()]
        return {name: names.count(name) for name in sorted(set(names))}

    def __call__(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the signature on one batch."""
        return self._run(**named)

    @staticmethod
    def _info(details: dict[str, Any]) -> tuple[TensorInfo, ...]:
        return tuple(
            TensorInfo(name, tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"]).name)
            for name, d in details.items()
        )


def compare(
    artifact: LiteRTModel,
    reference: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    samples: Sequence[dict[str, np.ndarray]],
    tolerance: float,
) -> Parity:
    """Hold an artifact against the model on golden inputs.

    Args:
        artifact: The loaded file.
        reference: The model: named inputs of batch size one to named outputs.
        samples: Golden inputs, each of batch size one.
        tolerance: Largest allowed difference relative to the largest absolute value of the output.

    Returns:
        The measured differences.

    Raises:
        ExportError: An output is not finite, is missing, or differs by more than `tolerance`.
    """
    differences: dict[str, float] = {}
    scales: dict[str, float] = {}
    for sample in samples:
        expected, got = reference(sample), artifact(sample)
        if set(expected) != set(got):
            raise ExportError(f"The file has the outputs {sorted(got)}, the model {sorted(expected)}.")
        for name, value in expected.items():
            if not np.all(np.isfinite(got[name])) and np.all(np.isfinite(value)):
                raise ExportError(f"The file's output {name!r} is not finite where the model's is.")
            difference = np.abs(got[name].astype("float64") - value.astype("float64"))
            differences[name] = max(differences.get(name, 0.0), float(np.max(difference, initial=0.0)))
            scale = float(np.max(np.abs(value.astype("float64")), initial=0.0))
            scales[name] = max(scales.get(name, 0.0), scale)
    relative = {n: d / scales[n] if scales[n] else float(d > 0) for n, d in differences.items()}
    worst = max(relative, key=lambda n: relative[n])
    if relative[worst] > tolerance:
        raise ExportError(
            f"The file does not compute what the model computes: output {worst!r} differs by "
            f"{differences[worst]:.3g}, {relative[worst]:.3g} of its largest value {scales[worst]:.3g}; "
            f"allowed is {tolerance:.3g}. Nothing was written."
        )
    return Parity(max(differences.values()), relative[worst], len(samples))
