"""Metadata that MediaPipe Tasks reads, packed into the file of an image classifier."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from ..report import check_labels
from ..scratch import scratch
from ..tflite_file import packed, unpacked
from .mediapipe import FIELD, image_classifier, shared_normalization

_TRANSFORMATIONS = ("identity", "log", "inverse_logistic")


@dataclass(frozen=True)
class ScoreCalibration:
    """Sigmoids that a client applies to scores: `scale / (1 + exp(-(slope * g(score) + offset)))`.

    Attributes:
        parameters: (scale, slope, offset) or (scale, slope, offset, min_score) for each label, in order, with
            scale >= 0, or None for a label that always gets `default_score`.
        transformation: g: "identity", "log", or "inverse_logistic", which is log(x / (1 - x)).
        default_score: The score of labels without parameters, and of scores below `min_score`.

    Raises:
        ValueError: A field is something else.

    References:
        ScoreCalibrationOptions in MediaPipe's metadata_schema.fbs.
    """

    parameters: Sequence[Sequence[float] | None]
    transformation: str = "identity"
    default_score: float = 0.0

    def __post_init__(self) -> None:
        if self.transformation not in _TRANSFORMATIONS:
            raise ValueError(f"transformation is one of {_TRANSFORMATIONS}, not {self.transformation!r}.")
        if not math.isfinite(self.default_score):
            raise ValueError(f"default_score is a finite number; received {self.default_score}.")
        for i, row in enumerate(self.parameters):
            numbers = _numbers(row)
            if row is not None and not (
                len(numbers) in (3, 4) and all(map(math.isfinite, numbers)) and numbers[0] >= 0
            ):
                raise ValueError(
                    f"The parameters of label {i} are (scale, slope, offset) or (scale, slope, offset, "
                    f"min_score), all finite and scale not below 0, or None; received {row}."
                )
        if all(row is None for row in self.parameters):
            raise ValueError("No label has parameters. Leave score_calibration out.")

    def to_text(self) -> str:
        """A line for each label; no line end after the last, which clients would count as one more label."""
        return "\n".join(",".join(map(repr, _numbers(row))) for row in self.parameters)


def add_metadata(
    content: bytes,
    *,
    labels: Sequence[str],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    score_calibration: ScoreCalibration | None = None,
) -> bytes:
    """Pack what MediaPipe's ImageClassifier has to know into the file of an image classifier.

    Operations and weights stay as they are. A client shows the model's outputs as scores: end the model with
    a softmax or a sigmoid if they should be probabilities. Quantize first: quantizers drop the labels.

    Args:
        content: The .tflite file: one input (1, height, width, 3) and one output (1, classes), each float32
            or uint8. What lies between may be int8.
        labels: Names of the classes, in the order of the output.
        mean: A client makes (pixel - mean) / std of pixels of 0 to 255; see `client_normalization`. 0 and 1
            go with a graph that rescales pixels itself. A client feeds pixels as they are to a uint8 input,
            whose scale and zero point have to do the same.
        std: See `mean`; above 0. One for each channel has to be the same for all.
        score_calibration: Sigmoids that a client applies to the scores.

    Returns:
        The file with metadata, at the same time a zip archive that holds `labels.txt`. The same arguments
        give the same bytes.

    Raises:
        ImportError: mediapipe is missing.
        ValueError: MediaPipe could not use the file, or would use it wrongly; the message says why.

    Example:
        ```python
        path.write_bytes(add_metadata(path.read_bytes(), labels=["cat", "dog"]))
        ```

    References:
        https://ai.google.dev/edge/litert/models/metadata
    """
    mean, std = shared_normalization(mean, std)
    image, scores = image_classifier(content, mean, std)
    check_labels(labels, scores.shape[1])
    files = {"labels.txt": "\n".join(labels)}
    if score_calibration is not None:
        if len(score_calibration.parameters) != len(labels):
            raise ValueError(
                f"There are score calibrations of {len(score_calibration.parameters)} labels, but the model "
                f"has {len(labels)}. Give None for one without."
            )
        files["score_calibration.txt"] = score_calibration.to_text()
    described = _description([image.dtype, scores.dtype], mean, std, files, score_calibration)
    whole = io.BytesIO()
    whole.write(_with_metadata(content, described))
    with zipfile.ZipFile(whole, "a") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)  # its date is fixed
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.encode())
    return whole.getvalue()


def _description(
    dtypes: list[str], mean: float, std: float, files: dict[str, str], calibration: ScoreCalibration | None
) -> bytes:
    """The metadata proper, of parts of mediapipe's writer: its wheels lack what the writer itself needs."""
    try:
        from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
        from mediapipe.tasks.metadata.schema_py_generated import TensorType
        from mediapipe.tasks.python.metadata.metadata_writers import metadata_info as info
    except ImportError as error:
        raise ImportError(
            f'Metadata need mediapipe, which does not load ({error}): pip install "kerasft[metadata]"'
        ) from error
    import flatbuffers

    sigmoids = None
    if calibration is not None:
        kind = getattr(schema.ScoreTransformationType, calibration.transformation.upper())
        with scratch() as folder:  # mediapipe reads the file, and keeps its name
            path = folder / "score_calibration.txt"
            path.write_text(files[path.name])
            sigmoids = info.ScoreCalibrationMd(kind, calibration.default_score, str(path))
    kinds = [getattr(TensorType, dtype.upper()) for dtype in dtypes]
    image = info.InputImageTensorMd(
        "image", "Image to classify.", [mean], [std], schema.ColorSpaceType.RGB, kinds[0]
    )
    scores = info.ClassificationTensorMd(
        "score", "Score of each label.", [info.LabelFileMd("labels.txt")], kinds[1], sigmoids
    )
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [image.create_metadata()]
    graph.outputTensorMetadata = [scores.create_metadata()]
    model = info.GeneralMd("ImageClassifier", description="Tells the class of an image.").create_metadata()
    model.subgraphMetadata = [graph]
    model.minParserVersion = "1.0.0"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"M001")
    return bytes(builder.Output())


def _with_metadata(content: bytes, described: bytes) -> bytes:
    """The same model with one buffer more."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ValueError("The weights come after the model, as in files above 2 GB, where metadata would go.")
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = FIELD, len(model.buffers)
    buffer.data = np.frombuffer(described, "uint8")
    model.buffers = [*model.buffers, buffer]
    model.metadata = [*(model.metadata or []), entry]
    return packed(model, len(content) + len(described))


def _numbers(row: Sequence[float] | None) -> list[float]:
    return [float(x) for x in row or ()]
