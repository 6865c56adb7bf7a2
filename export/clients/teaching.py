"""What a page needs to teach a head: a file with steps of a fixed size, and the first weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ExportError
from ..report import TensorInfo, check_labels
from ..scratch import scratch
from ..tflite_file import LiteRTModel, packed, unpacked
from ..trainable_report import TrainableReport
from .model_json import file_json, picture_json

BATCH = 16  # pictures in a step, where the file leaves it open
WEIGHTS = "weights.safetensors"  # the first weights and slots, beside the page
_MOST = 50  # classes that a visitor can overlook
_SAME = 1e-5  # of the largest value


def lesson_json(report: TrainableReport) -> dict[str, Any]:
    """The content of model.json for a head that is taught, but for what is measured on the file.

    Raises:
        ValueError: The page can't feed such a model, or its outputs are no classes.
    """
    if report.text is not None:
        raise ValueError(
            f"The page teaches classes of pictures, and {report.path} takes texts. In your own client, "
            "`features` takes the token ids that report.text.encode gives."
        )
    output, inputs = _only(report, "scores", "outputs"), report.signatures["features"].inputs
    if len(inputs) != 1:
        raise ValueError(f"The page runs models with one input; {report.path} has {len(inputs)}.")
    if len(output.shape) != 2 or output.shape[1] < 2:
        raise ValueError(
            f"The page shows one score for each of two classes or more, of shape (samples, classes); "
            f"{report.path} gives {output.shape}."
        )
    classes = output.shape[1]
    if classes > _MOST:
        raise ValueError(
            f"The page has a card for each class, up to {_MOST}, and {report.path} has {classes} outputs. "
            "Export it with new_classes=…: the number of classes that a visitor may teach it."
        )
    if report.labels is not None:
        check_labels(report.labels, classes)
    features = _only(report, "features", "outputs")
    batch = next(t.shape[0] for t in report.signatures["train"].inputs if t.name == "features")
    return {
        **file_json(report, output),
        **picture_json(report, inputs[0]),
        "weights": WEIGHTS,
        "digest": report.digest,
        "state": [{"name": w.name, "shape": w.shape, "kind": w.kind} for w in report.state],
        "features": features.shape[1:],
        "classes": classes,
        "new_classes": report.new_classes,
        "batch": batch if batch > 0 else BATCH,
        "learning_rate": report.optimizer["learning_rate"],
        "optimizer": report.optimizer["name"],
    }


def lesson_files(report: TrainableReport, about: dict[str, Any]) -> tuple[bytes, dict[str, np.ndarray]]:
    """The model of the page, and the first weights and slots; `about` gets "probabilities".

    Raises:
        ExportError: A file is gone, or was changed since its export.
        ValueError: The loss is a mean square, and the outputs are no probabilities.
    """
    _, state = report.read_state()
    content = sized(report.read_file(), about["batch"])
    about["probabilities"] = _measured(report, content, about, state)
    if report.loss == "mean_squared_error" and not about["probabilities"]:
        raise ValueError(
            f"{report.path} trains by the mean square of values that are no probabilities: its outputs may "
            "be classes or measures. The page teaches classes: export it with "
            "loss='categorical_crossentropy'."
        )
    return content, state


def sized(content: bytes, batch: int) -> bytes:
    """A trainable file whose `train` and `scores` take so many samples, without `classify`.

    LiteRT.js takes tensors of the size that stands in the file alone, and the page holds features, so that it
    has no use for `classify`.
    """
    model = unpacked(content)
    (dropped,) = (s for s in model.signatureDefs if _text(s.signatureKey) == "classify")
    model.signatureDefs.remove(dropped)
    del model.subgraphs[dropped.subgraphIndex]
    for signature in model.signatureDefs:
        if signature.subgraphIndex > dropped.subgraphIndex:
            signature.subgraphIndex -= 1
        graph = model.subgraphs[signature.subgraphIndex]
        for entry in (*signature.inputs, *signature.outputs):
            tensor = graph.tensors[entry.tensorIndex]
            if tensor.shapeSignature is not None and list(tensor.shapeSignature)[:1] == [-1]:
                tensor.shape, tensor.shapeSignature = [batch, *list(tensor.shape)[1:]], None
    return packed(model, len(content))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _only(report: TrainableReport, signature: str, side: str) -> TensorInfo:
    (tensor,) = getattr(report.signatures[signature], side)
    return tensor


def _measured(
    report: TrainableReport, content: bytes, about: dict[str, Any], state: dict[str, np.ndarray]
) -> bool:
    """Hold the page's model against the exported file; returns whether it gives probabilities.

    Scores of large features under random weights are between 0 and 1 where the last step makes them so.
    """
    rng = np.random.default_rng(0)
    batch, classes = about["batch"], about["classes"]
    features = rng.normal(size=(batch, *about["features"])).astype("float32")
    target = np.eye(classes, dtype="float32")[rng.integers(0, classes, batch)]
    given = {"features": features, "target": target, "learning_rate": np.array([0.01], "float32"), **state}
    weights = {w.name: rng.normal(size=w.shape).astype("float32") for w in report.weights}
    with scratch() as folder:
        (folder / "model.tflite").write_bytes(content)
        found = {}
        for path in (report.path, str(folder / "model.tflite")):
            train, scores = (LiteRTModel(path, signature=name) for name in ("train", "scores"))
            found[path] = {
                **train(given),
                "scores": scores({"features": 100 * features, **weights})["scores"],
            }
    expected, made = found.values()
    for name, value in expected.items():
        if np.abs(made[name] - value).max() > _SAME * max(1.0, np.abs(value).max()):
            raise ExportError(
                f"The file for the page, with steps of {batch} samples, gives another {name!r} than "
                f"{report.path}. Please report this, with the model. Nothing was written."
            )
    return bool(np.all((made["scores"] >= 0) & (made["scores"] <= 1)))
