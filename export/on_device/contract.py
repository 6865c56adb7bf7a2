"""What a trainable file promises, measured on the file: steps as Keras's own, and nothing but built-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..draft import hold
from ..errors import ExportError
from ..model import Measured, Subject, expected_of
from ..parity import Parity, Sample, compare, require
from ..report import SignatureInfo
from ..tflite_file import LiteRTModel, custom, producers, read_operations
from .losses import SIGMOID, SOFTMAX
from .part import named_weights, rebuilt
from .program import Program
from .steps import is_noise

SIGNATURES = ("features", "train", "scores", "classify")
STEPS = 50
STEPS_TOLERANCE = 1e-5
_GOLDEN = 32  # samples in these steps
_ROUNDINGS = 16  # last bits that the operations of a step may be off
_MOST = 1.02  # of the inference file's size
_ROOM = 256  # bytes for each operation, where the model is so small that these make the file
_STATEFUL = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE")


class _InInference(keras.layers.BatchNormalization):
    """BatchNormalization whose statistics stay as they are while its gamma and beta train."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(inputs, training=False, mask=mask)


def keras_head(program: Program) -> tuple[keras.Model, dict[str, Any]]:
    """The part as a Keras model of its own, without noise, and its weights by their names."""

    def change(layer: keras.Layer, config: dict[str, Any]) -> keras.Layer | None:
        if is_noise(layer):
            return None
        return (_InInference if type(layer) is keras.layers.BatchNormalization else type(layer)).from_config(
            config
        )

    inputs = keras.Input(program.part.features.output.shape[1:])
    outputs, copies = rebuilt(program.part.links, inputs, change)
    weights = [v for copy in copies for v in copy.weights]
    return keras.Model(inputs, outputs), dict(zip(named_weights(program.part.links), weights, strict=True))


def keras_steps(
    program: Program, features: np.ndarray, targets: np.ndarray, rate: float, steps: int = STEPS
) -> Sample:
    """The weights after Keras's own training steps on one batch, and the loss before each as "loss"."""
    model, weights = keras_head(program)
    model.compile(program.rule.keras_optimizer(rate), program.loss.keras_loss(), jit_compile=False)
    losses = []
    for _ in range(steps):
        losses.append(model.train_on_batch(features, targets))
        model.reset_metrics()  # what is returned is the mean of all since
    found = {name: keras.ops.convert_to_numpy(weights[name]) for name in program.weights}
    return {**found, "loss": np.array(losses, "float64")}


def file_steps(
    run: LiteRTModel,
    program: Program,
    features: np.ndarray,
    targets: np.ndarray,
    rate: float,
    steps: int = STEPS,
) -> Sample:
    """The same of a file's `train`."""
    state, losses = program.state, []
    given = {"features": features, "target": targets, "learning_rate": np.array([rate], "float32")}
    for _ in range(steps):
        state = run({**given, **state})
        losses.append(float(state.pop("loss")[0]))
    return {**{name: state[name] for name in program.weights}, "loss": np.array(losses)}


def made_up_targets(program: Program, shape: tuple[int, ...]) -> np.ndarray:
    """Targets of a fixed seed, as the loss takes them."""
    rng = np.random.default_rng(0)
    if program.loss.name == SOFTMAX:
        return np.eye(shape[-1], dtype="float32")[rng.integers(0, shape[-1], shape[:-1])]
    values = rng.integers(0, 2, shape) if program.loss.name == SIGMOID else rng.uniform(0, 1, shape)
    return values.astype("float32")


def check_steps(
    path: Path, program: Program, features: np.ndarray, outputs: tuple[int, ...]
) -> tuple[Parity, float, float | None]:
    """Hold steps in LiteRT against Keras's own.

    The rate is the optimizer's, or, where the loss rises by it on these features, the first tenth, hundredth
    and so on by which it does not: where steps run away, rounding does as well.

    Adam divides by the size of a gradient, so that a weight whose gradient is a sum that cancels goes where
    rounding sends it, in Keras as well. Where a weight differs by more than 1e-5, it may differ by 16 times
    what Keras's own steps move by when features change in their last bit; root mean squares keep 1e-5.

    Returns:
        The differences of weights and losses; the rate; and what Keras's own move by, if that was asked.

    Raises:
        ExportError: They differ.
    """
    targets = made_up_targets(program, outputs)
    for power in range(9):
        rate = float(np.float32(program.rule.learning_rate * 0.1**power))
        with np.errstate(all="ignore"):
            expected = keras_steps(program, features, targets, rate)
        finite = all(np.all(np.isfinite(v)) for v in expected.values())
        if finite and expected["loss"][-1] <= expected["loss"][0]:
            break
    else:
        raise ExportError(
            f"Keras's own {STEPS} steps on golden features of {program.part.depth!r} raise the loss at every "
            f"rate from {program.rule.learning_rate:g} down: there is nothing to hold the file against. "
            "Give a holdout or representative_data in the model's range, or normalize the features."
        )
    got = file_steps(LiteRTModel(str(path), signature="train"), program, features, targets, rate)
    found = compare(lambda sample: got, [{}], [expected]).parity
    rounding = None
    if found.max_relative > STEPS_TOLERANCE:
        moved = keras_steps(program, _last_bits(features), targets, rate)
        rounding = compare(lambda sample: moved, [{}], [expected]).parity.max_relative
    after = f"from Keras's own after {STEPS} steps at the rate {rate:g}, by the"
    advice = "Please report this, with the model."
    require(
        found.max_relative, max(STEPS_TOLERANCE, _ROUNDINGS * (rounding or 0.0)),
        f"the largest difference of a weight, or of the loss, {after} largest value", advice,
    )  # fmt: skip
    require(
        found.rms_relative, STEPS_TOLERANCE,
        f"the root mean square of the differences of a weight, or of the losses, {after} weight's", advice,
    )  # fmt: skip
    return found, rate, rounding


def _last_bits(values: np.ndarray) -> np.ndarray:
    """Values of which a random half is the next larger number."""
    half = np.random.default_rng(0).integers(0, 2, values.shape).astype(bool)
    return np.where(half, np.nextafter(values, np.float32(np.inf)), values)


def check_operations(content: bytes) -> None:
    """Raise ExportError unless a file has built-in operations alone, and none with a state."""
    operations = read_operations(content)
    if foreign := custom(operations):
        raise ExportError(f"The file needs operations that are not built in: {foreign}. Nothing was written.")
    if stateful := sorted({o.name for o in operations} & set(_STATEFUL)):
        raise ExportError(
            f"The file would keep a state of its own, by {stateful}: a table of words or a variable before "
            "the part that trains. Leave that out of the exported model. Nothing was written."
        )


def check_size(content: bytes, inference: int) -> None:
    """Raise ExportError unless a file is as small as the inference file is, but for what trains."""
    size, operations = len(content), len(read_operations(content))
    require(
        size, max(_MOST * inference, inference + _ROOM * operations),
        f"its size (that of the inference file is {inference:,}), in bytes",
        "A frozen layer of the part is in float32, as the part computes: let it train, or begin after it.",
    )  # fmt: skip


def measured(
    path: Path, subject: Subject, program: Program, precision: str, tolerance: float | None, batch: int | None
) -> dict[str, Any]:
    """Hold a file against the model and against Keras's own steps; the fields of the report that follow."""
    content = path.read_bytes()
    runs = {name: LiteRTModel(str(path), signature=name) for name in SIGNATURES}
    wanted = [{"features": v} for v in _features(program, subject)]
    found = compare(runs["features"], subject.samples, wanted, producers(content, "features"), subject.places)
    hold(found, precision, tolerance, subject.crowded if precision == "int8" else "")
    parities = {"features_parity": found.parity}

    (output,) = subject.expected[0]
    made_by = {output: producers(content, "classify")["scores"]}

    def classify(sample: Sample) -> Sample:
        return {output: runs["classify"]({**sample, **program.weights})["scores"]}

    found = compare(classify, subject.samples, subject.expected, made_by, subject.places)
    hold(found, precision, tolerance)
    result, not_measured = subject.measured({"": (classify, made_by)})
    quality = None
    for held in result.values():
        if not isinstance(held, Measured):
            raise held
        hold(held.comparison, precision, tolerance)
        found, quality = held.comparison, held.quality
    parities["parity"] = found.parity

    features = np.concatenate([entry["features"] for entry in wanted])
    expected = np.concatenate([entry[output] for entry in subject.expected])
    hold(
        compare(runs["scores"], [{"features": features, **program.weights}], [{"scores": expected}]),
        "float32",
        None,
    )
    features, size = (
        np.resize(v, (batch or min(len(v), _GOLDEN), *v.shape[1:])) for v in (features, expected)
    )
    parities["steps_parity"], rate, rounding = check_steps(path, program, features, size.shape)
    given = {
        "features": features, "target": made_up_targets(program, size.shape), **program.state,
        "learning_rate": np.array([rate], "float32"),
    }  # fmt: skip
    return {
        **parities,
        "steps_rate": rate,
        "steps_rounding": rounding,
        "step_ms": {str(len(features)): runs["train"].latency_ms(given)},
        "quality": quality,
        "not_measured": not_measured,
        "signatures": {name: SignatureInfo(run.inputs, run.outputs) for name, run in runs.items()},
    }


def _features(program: Program, subject: Subject) -> list[np.ndarray]:
    """What the frozen layers give for the golden samples, each of batch size one."""
    return [next(iter(found.values())) for found in expected_of(program.part.features, subject.samples)]
