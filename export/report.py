"""A report: what was exported, and what was measured on it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ExportError
from .files import parse_json, taking_apart
from .parity import Parity
from .text import Text

Channels = float | tuple[float, ...]  # one number, or one for each channel
SIGNATURE = "serving_default"  # of files that do not train


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of an artifact.

    Attributes:
        name: Its name in the signature.
        shape: Its shape, batch first; -1 where an axis is open.
        dtype: Its dtype, as numpy writes it.
        scale: What one step of an integer tensor is worth in the model's units; None for others.
        zero_point: The integer that stands for 0; None for others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class SignatureInfo:
    """What a signature takes and gives, in the file's own order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Quality:
    """A classifier's accuracy on a labelled holdout, as the model and as the artifact.

    Attributes:
        samples: Size of the holdout.
        agreement: Share on which both name the same class.
        accuracy_model: The model's accuracy.
        accuracy_file: The artifact's.
        drop: accuracy_model - accuracy_file.
        interval: 95 % confidence interval of the drop, for the population of which the holdout is a sample.
        kind: What is compared: "classes" (the largest of the scores), "binary" (one probability, above 0.5 or
            not) or "labels" (one probability for each of several labels, which all count alike).
        label_drops: With "labels" the drop of each label by itself.
    """

    samples: int
    agreement: float
    accuracy_model: float
    accuracy_file: float
    drop: float
    interval: tuple[float, float]
    kind: str = "classes"
    label_drops: tuple[float, ...] = ()

    @classmethod
    def of(cls, model: np.ndarray, file: np.ndarray, truth: np.ndarray, kind: str = "classes") -> Quality:
        """Compare what both name with the truth, all of shape (samples,) or (samples, labels).

        Both are asked about the same samples, so the interval is that of matched proportions: with b samples
        that only the model gets right and c that only the file does, half a sample is added to each of the
        four cells, and the interval is Wald's. With several labels a sample counts by the share of its labels
        that are right, and b + c is the sum of the squared differences.

        Example:
            >>> Quality.of(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), np.array([0, 1, 1, 1])).drop
            0.25

        References:
            Agresti & Min (2005), Simple improved confidence intervals for comparing matched proportions,
            Statistics in Medicine 24, section 3.
        """
        right, kept = model == truth, file == truth
        lost = right.astype(float) - kept
        by_sample = lost.reshape(len(truth), -1).mean(1)
        n, total, squares = len(truth), float(by_sample.sum()), float((by_sample**2).sum())
        middle = total / (n + 2)
        half = 1.959964 * math.sqrt(squares + 1 - total**2 / (n + 2)) / (n + 2)
        return cls(
            samples=n,
            agreement=float(np.mean(model == file)),
            accuracy_model=float(np.mean(right)),
            accuracy_file=float(np.mean(kept)),
            drop=total / n,
            interval=(middle - half, middle + half),
            kind=kind,
            label_drops=tuple(lost.mean(0).tolist()) if lost.ndim == 2 else (),
        )


@dataclass(frozen=True)
class Speed:
    """How the artifact runs on the machine that exported it: a host's time, not a phone's.

    Attributes:
        ms: Median time of a call with one sample, in milliseconds, by number of threads.
        partitions: Pieces that XNNPACK computes.
        outside: Operations that the runtime computes by itself, between them.
    """

    ms: dict[str, float]
    partitions: int
    outside: int


@dataclass(frozen=True)
class Report:
    """A record of what was exported and what was measured on it.

    Attributes:
        path: The file.
        precision: float32, float16, dynamic, weight_only or int8.
        io: What it takes and gives: float, int8 or uint8.
        made_by: What made the precision: "converter", "litert-quantizer" or "ai-edge-quantizer".
        size_bytes: Size of the file.
        sha256: Hash of the file.
        inputs: Inputs of its signature.
        outputs: Outputs of its signature.
        operations: How many operations it has of which kind.
        dtypes: How many tensors in the file have which dtype.
        labels: Names of the classes in the order of the output, or None.
        input_range: Lowest and highest value that the graph expects, as given, or as its own rescaling and
            the data decide; None if they leave it open.
        normalization: (mean, std) that the client has to apply, or None.
        preprocessing: Where it happens: "in the graph: …", "by the client: …" or "none".
        metadata: Whether the file holds metadata for MediaPipe Tasks.
        parity: Difference from the model.
        quality: Accuracy of model and file on the holdout; None where it was not measured.
        speed: Latency and partitions.
        versions: Versions of keras, tensorflow and ai_edge_litert, and of what made the precision.
        not_measured: Why `quality` is None; "" where it is not.
        pixels: How a file of a picture becomes pixels of 0 to 255, as in training (for instance
            `kerasft.data.PixelRule().to_dict()`); None where the model was trained on numbers as given.
        text: How a text becomes the token ids that the file takes, with the vocabulary; None for other files.
    """

    path: str
    precision: str
    io: str
    made_by: str
    size_bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operations: dict[str, int]
    dtypes: dict[str, int]
    labels: tuple[str, ...] | None
    input_range: tuple[float, float] | None
    normalization: tuple[Channels, Channels] | None
    preprocessing: str
    metadata: bool
    parity: Parity
    quality: Quality | None
    speed: Speed
    versions: dict[str, str]
    not_measured: str = ""
    pixels: dict[str, str] | None = None
    text: Text | None = None

    @property
    def signatures(self) -> dict[str, SignatureInfo]:
        """What its one signature takes and gives, by its name."""
        return {SIGNATURE: SignatureInfo(self.inputs, self.outputs)}

    @property
    def accuracy_file(self) -> float | None:
        """The file's accuracy on the holdout; None without a labelled one."""
        return None if self.quality is None else self.quality.accuracy_file

    @property
    def accuracy_model(self) -> float | None:
        """The model's accuracy on the holdout; None without a labelled one."""
        return None if self.quality is None else self.quality.accuracy_model

    def read_file(self) -> bytes:
        """The file's bytes, as they were exported.

        Raises:
            ExportError: The file is gone, or was changed since its export.
        """
        return exported_bytes(self.path, self.sha256)

    def to_json(self) -> str:
        """The report as JSON text."""
        text = None if self.text is None else self.text.to_dict()
        return json.dumps({**asdict(replace(self, text=None)), "text": text}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is no report.
        """
        content = parse_json(text, "The report")
        with taking_apart("The report"):
            for key in ("inputs", "outputs"):
                content[key] = tuple(TensorInfo(**{**t, "shape": tuple(t["shape"])}) for t in content[key])
            for key in ("labels", "input_range", "normalization"):
                content[key] = None if content[key] is None else _tuples(content[key])
            content["parity"], content["speed"] = Parity(**content["parity"]), Speed(**content["speed"])
            if content["quality"] is not None:
                quality = content["quality"]
                pairs = {key: tuple(quality.get(key, ())) for key in ("interval", "label_drops")}
                content["quality"] = Quality(**{**quality, **pairs})
            if content.get("text") is not None:
                content["text"] = Text(**content["text"])
            return cls(**content)


def exported_bytes(path: str, sha256: str | None) -> bytes:
    """The bytes of an exported file, as they were; `sha256` is None where that is not known.

    Raises:
        ExportError: The file is gone, or was changed since its export.
    """
    file = Path(path)
    if not file.is_file():
        raise ExportError(f"The exported file {file} is not there. Export it again.")
    content = file.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ExportError(f"{file} was changed since its export; its sha256 is another. Export it again.")
    return content


def check_pixels(pixels: Mapping[str, str] | None) -> dict[str, str] | None:
    """The rule for pixels as a report holds it; raises TypeError unless it is texts by texts."""
    if pixels is None:
        return None
    if not isinstance(pixels, Mapping) or not all(
        isinstance(t, str) for pair in pixels.items() for t in pair
    ):
        raise TypeError(
            "pixels says in words how a picture becomes pixels, such as kerasft.data.PixelRule().to_dict(); "
            f"received {pixels!r}."
        )
    return dict(pixels)


def check_labels(labels: Any, columns: int | None, *, pair: bool = False) -> tuple[str, ...]:
    """Labels as every file with labels can hold them: one a line, one for each class.

    Args:
        labels: Names of the classes, in the order of the output.
        columns: The output's columns; None for any.
        pair: Whether an output of one column may have two labels: of values near 0, and of values near 1.

    Raises:
        ValueError: They are something else; the message names the label.
    """
    if isinstance(labels, str | bytes | Mapping | Set) or not isinstance(labels, Iterable):
        raise ValueError(f"labels is a list of names; received {_short(labels)}.")
    names = tuple(labels)
    where: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(
                f"labels is a list of names; label {i} is {_short(name)}, of {type(name).__name__}."
            )
        said = f"label {i} is {_short(name)}"
        if not name.strip():
            raise ValueError(f"labels is a list of names, none of them empty; {said}.")
        if "\0" in name or name.splitlines() != [name]:
            raise ValueError(f"A label is one line, without line breaks and NULs; {said}.")
        if name != name.strip():
            raise ValueError(f"Labels neither begin nor end with blanks, which readers drop; {said}.")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"Labels are written in UTF-8, which can't hold all of one: {said}.") from None
        if name in where:
            raise ValueError(f"labels are unique; {said}, and so is label {where[name]}.")
        where[name] = i
    if columns is not None and len(names) != columns and not (pair and (columns, len(names)) == (1, 2)):
        each = (
            " Here each column has a name: give that of 1 alone, or end the model with both probabilities, "
        )
        each += "keras.layers.Concatenate()([1 - p, p])."
        raise ValueError(
            f"There are {len(names)} labels, but the model has {columns} outputs."
            f"{each if (columns, len(names)) == (1, 2) else ''}"
        )
    return names


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]} …"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
