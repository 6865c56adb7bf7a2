"""A report on a trainable file: what a client needs to run it, and what was measured on it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ExportError
from .files import parse_json, taking_apart
from .parity import Parity
from .report import Channels, Quality, SignatureInfo, TensorInfo, exported_bytes
from .tables import plain_table
from .text import Text


@dataclass(frozen=True)
class WeightInfo:
    """A weight, or a slot of the optimizer: an array that the client holds.

    Attributes:
        name: Its name among the inputs and outputs of the signatures, and in the files of weights.
        shape: Its shape.
        dtype: Its dtype, as numpy writes it.
        layer: The path of the layer that it belongs to; "" for the step count.
        kind: "weight", "slot" or "step".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layer: str
    kind: str


@dataclass(frozen=True)
class TrainableReport:
    """A record of a trainable file, which stands beside it as JSON.

    Attributes:
        path: The file; the first values of weights and slots are beside it, in a file ending in `.npz`.
        precision: That of the frozen part; the rest computes in float32.
        made_by: What made that precision: "converter", or the quantizer by its name.
        depth: The path of the first layer that trains.
        layers: The paths of the layers from there on, with their classes.
        size_bytes: Size of the file.
        inference_bytes: Size of the model's file of the same precision without training; None where there is
            none, as int8 of a head that has no integer kernels.
        sha256: Hash of the file.
        digest: Hash of all weights that stay as they are; files of weights carry it.
        signatures: What `features`, `train`, `scores` and `classify` take and give.
        state: The weights, then the slots, in the order of the signatures.
        frozen: Weights of the trained layers that are constants of the file, as they are off in the model.
        off: What does nothing on the device that it does in Keras's training, in words.
        loss: "categorical_crossentropy", "binary_crossentropy" or "mean_squared_error".
        label_smoothing: As Keras's.
        optimizer: "sgd" or "adam", its constants, and the learning rate to begin with.
        labels: Names of the classes in the order of the output, or None.
        new_classes: Whether the head begins with other classes than the model's.
        input_range, normalization, preprocessing, pixels, text: As in `Report`.
        operations: How many operations there are of which kind.
        parity: Difference of `classify` from the model.
        features_parity: Difference of `features` from the model's.
        steps_parity: Difference of weights and losses from Keras's own after 50 steps on golden features.
        steps_rate: The learning rate of these steps.
        steps_rounding: What Keras's own weights move by when features change in their last bit, by the
            largest value; None where the file's keep 1e-5.
        quality: Accuracy of `classify` and of the model on the holdout; None where it was not measured.
        not_measured: Why `quality` is None; "" where it is not.
        step_ms: Median time of a step on the machine that exported it, in milliseconds, by number of samples.
        versions: Versions of keras, tensorflow and ai_edge_litert, and of what made the precision.
        npz_sha256: Hash of the file with the first values of weights and slots; "" in reports without it.
    """

    path: str
    precision: str
    made_by: str
    depth: str
    layers: tuple[tuple[str, str], ...]
    size_bytes: int
    inference_bytes: int | None
    sha256: str
    digest: str
    signatures: dict[str, SignatureInfo]
    state: tuple[WeightInfo, ...]
    frozen: tuple[str, ...]
    off: tuple[str, ...]
    loss: str
    label_smoothing: float
    optimizer: dict[str, Any]
    labels: tuple[str, ...] | None
    new_classes: bool
    input_range: tuple[float, float] | None
    normalization: tuple[Channels, Channels] | None
    preprocessing: str
    pixels: dict[str, str] | None
    text: Text | None
    operations: dict[str, int]
    parity: Parity
    features_parity: Parity
    steps_parity: Parity
    steps_rate: float
    steps_rounding: float | None
    quality: Quality | None
    not_measured: str
    step_ms: dict[str, float]
    versions: dict[str, str]
    npz_sha256: str = ""

    @property
    def weights(self) -> tuple[WeightInfo, ...]:
        """The weights that train."""
        return tuple(entry for entry in self.state if entry.kind == "weight")

    def read_file(self) -> bytes:
        """The file's bytes, as they were exported.

        Raises:
            ExportError: The file is gone, or was changed since its export.
        """
        return exported_bytes(self.path, self.sha256)

    def read_state(self) -> tuple[bytes, dict[str, np.ndarray]]:
        """The file with the first values of weights and slots, and these by name, in the signatures' order.

        Raises:
            ExportError: It is gone, was changed since the export, or is of another one.
        """
        path = Path(self.path).with_suffix(".npz")
        content = exported_bytes(str(path), self.npz_sha256 or None)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ExportError(f"{path} is no .npz file of arrays: {error}. Export it again.") from error
        digest = str(found.pop("digest", ""))
        shapes = {name: (value.shape, value.dtype.name) for name, value in found.items()}
        wanted = {entry.name: (entry.shape, entry.dtype) for entry in self.state}
        odd = [n for n in {**wanted, **shapes} if shapes.get(n) != wanted.get(n)]
        if odd or digest != self.digest:
            which = f"{odd} are other arrays" if odd else "its digest is another"
            raise ExportError(f"{path} does not belong to {self.path}: {which}. Export both again.")
        return content, {name: found[name] for name in wanted}

    def __str__(self) -> str:
        rows = []
        state = {entry.name for entry in self.state}
        for name, signature in self.signatures.items():
            sides = []
            for tensors in (signature.inputs, signature.outputs):
                own = [f"{t.name} {list(t.shape)}" for t in tensors if t.name not in state]
                held = sum(t.name in state for t in tensors)
                sides.append(", ".join(own + ([f"{held} arrays of weights and slots"] if held else [])))
            rows.append([name, *sides])
        lines = [
            f"{self.path}: {self.size_bytes / 1e6:.2f} MB, frozen part in {self.precision}",
            f"trains {', '.join(path for path, _ in self.layers)} by {self.optimizer['name']} on {self.loss}",
            plain_table(["signature", "takes", "gives"], rows),
            f"50 steps differ from Keras's own by {self.steps_parity.max_relative:.1e}, "
            f"scores by {self.parity.max_relative:.1e}, of the largest value",
            *(f"a step of {n} samples takes {ms:.3g} ms here" for n, ms in self.step_ms.items()),
            *self.off,
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's dicts, lists, texts and numbers."""
        text = None if self.text is None else self.text.to_dict()
        found: dict[str, Any] = json.loads(json.dumps({**asdict(replace(self, text=None)), "text": text}))
        return found

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainableReport:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is no such report.
        """
        content = parse_json(text, "The report")
        with taking_apart("The report"):
            content["signatures"] = {
                name: SignatureInfo(*(tuple(map(_tensor, s[side])) for side in ("inputs", "outputs")))
                for name, s in content["signatures"].items()
            }
            content["state"] = tuple(
                WeightInfo(**{**w, "shape": tuple(w["shape"])}) for w in content["state"]
            )
            for key in ("layers", "frozen", "off", "labels", "input_range", "normalization"):
                content[key] = None if content[key] is None else _tuples(content[key])
            for key in ("parity", "features_parity", "steps_parity"):
                content[key] = Parity(**content[key])
            if content["quality"] is not None:
                pairs = {key: tuple(content["quality"][key]) for key in ("interval", "label_drops")}
                content["quality"] = Quality(**{**content["quality"], **pairs})
            content["text"] = None if content["text"] is None else Text(**content["text"])
            return cls(**content)


def _tensor(entry: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**entry, "shape": tuple(entry["shape"])})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
