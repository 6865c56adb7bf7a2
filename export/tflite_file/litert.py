"""A .tflite file in the LiteRT runtime: called by names, in the model's own units, and timed."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ExportError
from ..report import TensorInfo


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the notes and warnings of the converter and the runtime off the terminal."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class LiteRTModel:
    """A .tflite file in LiteRT, called with named arrays.

    Inputs and outputs are those of the model: where the file takes or gives integers with a scale, they are
    converted by `clip(round(x / scale + zero_point))` and `(q - zero_point) * scale`.

    Args:
        path: The file.
        threads: How many threads compute.
        signature: The signature to run; by default serving_default, which has to be the only one.

    Raises:
        ExportError: LiteRT can't load it, for instance because it needs other than built-in operations.
    """

    def __init__(self, path: str, threads: int = 1, signature: str | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with quiet():
                self._interpreter = Interpreter(model_path=path, num_threads=threads)
                self._interpreter.allocate_tensors()
            names = list(self._interpreter.get_signature_list())
            if signature is None and names != ["serving_default"]:
                raise ValueError(f"its signatures are {names}, not serving_default alone")
            self._run = self._interpreter.get_signature_runner(signature or "serving_default")
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT can't load the file: {error}") from error
        self.inputs = tensor_infos(self._run.get_input_details())
        self.outputs = tensor_infos(self._run.get_output_details())

    @property
    def partitions(self) -> tuple[int, int]:
        """How many pieces XNNPACK computes, and how many operations are left to the runtime's own kernels."""
        pieces, outside = _delegated(self._interpreter)
        return pieces, len(outside)

    def __call__(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the signature on one batch."""
        raw = self._run(**{info.name: quantized(named[info.name], info) for info in self.inputs})
        return {info.name: dequantized(raw[info.name], info) for info in self.outputs}

    def latency_ms(self, sample: dict[str, np.ndarray], runs: int = 20, seconds: float = 0.5) -> float:
        """The median time of a call, in milliseconds: of up to `runs` calls, in about `seconds`."""
        raw = {info.name: quantized(sample[info.name], info) for info in self.inputs}
        self._run(**raw)
        times: list[float] = []
        while len(times) < 3 or (len(times) < runs and sum(times) < seconds):
            begin = time.perf_counter()
            self._run(**raw)
            times.append(time.perf_counter() - begin)
        return 1000 * statistics.median(times)


def left_by_xnnpack(path: str) -> tuple[list[int], int]:
    """Run a file once, on zeros, and find the operations that XNNPACK leaves to LiteRT's own kernels.

    Args:
        path: The file, whose inputs may have any names.

    Returns:
        Their places in the order of the file's main graph, and how many operations that has.

    Raises:
        ExportError: LiteRT can't run it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():
            interpreter = Interpreter(model_path=path, num_threads=1)
            interpreter.allocate_tensors()
            for details in interpreter.get_input_details():
                interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
            interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"LiteRT can't run the file: {error}") from error
    pieces, left = _delegated(interpreter)
    return left, len(interpreter._get_ops_details()) - pieces


def _delegated(interpreter: Any) -> tuple[int, list[int]]:
    """How many pieces XNNPACK computes, and the places of the operations outside them."""
    nodes = interpreter._get_ops_details()
    pieces = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operations = [i for i, node in enumerate(nodes) if node not in pieces]
    maker = {int(t): i for i in operations for t in nodes[i]["outputs"] if t >= 0}
    inside: set[int] = set()
    for piece in pieces:
        known, open_ends = {int(t) for t in piece["inputs"]}, [int(t) for t in piece["outputs"]]
        while open_ends:
            tensor = open_ends.pop()
            if tensor in maker and tensor not in known:
                inside.add(maker[tensor])
                known.add(tensor)
                open_ends += [int(t) for t in nodes[maker[tensor]]["inputs"] if t >= 0]
    return len(pieces), [i for i in operations if i not in inside]


def quantized(value: np.ndarray, info: TensorInfo) -> np.ndarray:
    """A value in the units of the model as a tensor of the file takes it."""
    if info.scale is None or info.zero_point is None:
        return np.asarray(value).astype(info.dtype)
    limits = np.iinfo(info.dtype)
    steps = np.round(np.asarray(value, "float64") / info.scale + info.zero_point)
    return np.clip(steps, limits.min, limits.max).astype(info.dtype)


def dequantized(value: np.ndarray, info: TensorInfo) -> np.ndarray:
    """The inverse of `quantized`, to half a step."""
    if info.scale is None or info.zero_point is None:
        return value
    return ((value.astype("float64") - info.zero_point) * info.scale).astype("float32")


def tensor_info(name: str, details: Mapping[str, Any]) -> TensorInfo:
    """A tensor as an interpreter describes it."""
    dtype, (scale, zero_point) = np.dtype(details["dtype"]), details["quantization"]
    steps = (float(scale), int(zero_point)) if scale and dtype.kind != "f" else (None, None)
    return TensorInfo(name, tuple(int(n) for n in details["shape_signature"]), dtype.name, *steps)


def tensor_infos(signature: Mapping[str, Mapping[str, Any]]) -> tuple[TensorInfo, ...]:
    """The inputs or the outputs of a signature, as its runner describes them."""
    return tuple(tensor_info(name, details) for name, details in signature.items())
