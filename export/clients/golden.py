"""Golden inputs: samples of a user, checked against a file and stored as it takes them; and their cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..parity import Sample
from ..report import TensorInfo
from ..tflite_file import quantized
from ..trainable_report import TrainableReport

STEPS = 5  # of the longer case of a training step
_MOST_SAMPLES = 64


@dataclass(frozen=True)
class GoldenCase:
    """Something that a file is asked for.

    Attributes:
        signature: The signature that is called.
        inputs: Its inputs, as the file takes them.
        steps: How many times it is called; outputs with the name of an input are the next call's.
        text: The text whose ids the inputs are, or None.
    """

    signature: str
    inputs: Sample
    steps: int = 1
    text: str | None = None


def training_cases(
    report: TrainableReport,
    samples: Sequence[Sample],
    state: Sample,
    features_of: Callable[..., Sample],
    texts: Sequence[str] | None,
) -> list[GoldenCase]:
    """The cases of all signatures of a file that trains, from its first weights on.

    Args:
        report: The report on the file.
        samples: Golden inputs of the model, in batches of one.
        state: The first values of weights and slots.
        features_of: The file's `features`.
        texts: The texts whose ids the samples are.
    """
    weights = {entry.name: state[entry.name] for entry in report.weights}
    own = list(texts) if texts is not None else [None] * len(samples)
    features = np.concatenate([features_of(**sample)["features"] for sample in samples])
    shapes = {t.name: t.shape for t in report.signatures["train"].inputs}
    count = len(features) if shapes["features"][0] == -1 else shapes["features"][0]
    batch = {
        "features": np.resize(features, (count, *features.shape[1:])),
        "target": made_up_targets(report.loss, (count, *shapes["target"][1:])),
        "learning_rate": np.array([report.steps_rate], "float32"),
    }
    return [
        *(GoldenCase("features", sample, text=text) for sample, text in zip(samples, own, strict=True)),
        *(
            GoldenCase("classify", {**sample, **weights}, text=text)
            for sample, text in zip(samples, own, strict=True)
        ),
        GoldenCase("scores", {"features": features, **weights}),
        *(GoldenCase("train", {**batch, **state}, steps) for steps in (1, STEPS)),
    ]


def made_up_targets(loss: str, shape: tuple[int, ...]) -> np.ndarray:
    """Targets of a fixed seed, as a loss takes them.

    Args:
        loss: "categorical_crossentropy", "binary_crossentropy" or "mean_squared_error".
        shape: That of the outputs.
    """
    rng = np.random.default_rng(0)
    if loss == "categorical_crossentropy":
        return np.eye(shape[-1], dtype="float32")[rng.integers(0, shape[-1], shape[:-1])]
    values = rng.integers(0, 2, shape) if loss == "binary_crossentropy" else rng.uniform(0, 1, shape)
    return values.astype("float32")


def golden_inputs(golden: Any, inputs: Sequence[TensorInfo]) -> list[Sample]:
    """Golden inputs as a file takes them, in batches of one.

    Args:
        golden: One array with a batch axis for the file's first input, or named ones, in the units of the
            graph.
        inputs: The file's inputs.

    Raises:
        TypeError, ValueError: An array is missing, or is not what the file takes.
    """
    exist = ", ".join(f"{t.name!r}: {t.dtype} of shape {list(t.shape)}" for t in inputs)
    named = golden if isinstance(golden, Mapping) else {inputs[0].name: golden}
    if set(named) != {t.name for t in inputs}:
        received = list(golden) if isinstance(golden, Mapping) else "one array"
        raise ValueError(f"golden has an array for each input; received {received}, the file takes {exist}.")
    stored = {t.name: _stored(np.asarray(named[t.name]), t) for t in inputs}
    counts = {name: len(value) for name, value in stored.items()}
    if len(set(counts.values())) > 1 or not 1 <= min(counts.values()) <= _MOST_SAMPLES:
        raise ValueError(f"golden has 1 to {_MOST_SAMPLES} samples, of each input as many, not {counts}.")
    return [{name: value[i : i + 1] for name, value in stored.items()} for i in range(min(counts.values()))]


def _stored(value: np.ndarray, tensor: TensorInfo) -> np.ndarray:
    """A golden input, in the units of the graph, as the file takes it."""
    name, shape, dtype = tensor.name, list(tensor.shape), np.dtype(tensor.dtype)
    if shape[:1] not in ([1], [-1]):
        raise ValueError(f"The file takes {name!r} in the shape {shape}; a golden case has a batch of one.")
    fits = value.ndim == len(shape) and all(
        n in (-1, m) for n, m in zip(shape[1:], value.shape[1:], strict=True)
    )
    if not fits and value.shape[:1] != (0,):
        raise ValueError(f"golden {name!r} has the shape {value.shape}, not (samples, *{shape[1:]}).")
    in_steps = tensor.scale is not None
    own = in_steps and value.dtype == dtype and (tensor.scale, tensor.zero_point) != (1, 0)
    kinds = {"b": "b", "f": "fiu"}.get(dtype.kind, "fiu" if in_steps else "iu")
    if value.size and (own or value.dtype.kind not in kinds):
        wanted = "floats in the units of the graph" if in_steps else dtype.name
        raise TypeError(f"golden {name!r} has the dtype {value.dtype}; expected are {wanted}.")
    finite = np.isfinite(value).all()
    if in_steps and finite:
        return quantized(value, tensor)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = value.astype(dtype)
    if not finite or (np.any(stored != value) if dtype.kind in "iu" else np.isinf(stored).any()):
        raise ValueError(f"golden {name!r} has values that are not finite, or that {dtype} can't hold.")
    return stored
