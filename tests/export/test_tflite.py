"""TFLite files: they compute what the model computes, or they are not written."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.model.subject import Subject

from kerasft import export


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    images = rng.uniform(0, 80, (60, 8, 8, 3)) + 80 * labels[:, None, None, None]
    return images.astype("float32"), labels.astype("int32")


@pytest.fixture(scope="module")
def trained(data):
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.RandomRotation(0.5)(keras.layers.RandomFlip()(x))
    x = keras.layers.Conv2D(8, 3)(x)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*data, epochs=20, verbose=0)
    return model


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_the_file_computes_what_the_model_computes(trained, data, tmp_path, precision, tolerance):
    path = tmp_path / "model.tflite"
    report = export.to_tflite(
        trained, path, precision=precision, labels=["a", "b", "c"], input_range=(0, 255), holdout=data
    )
    run = Interpreter(str(path)).get_signature_runner()
    images, labels = data
    expected = trained.predict(images, verbose=0)
    got = np.concatenate([run(image=image[None])["scores"] for image in images])
    np.testing.assert_allclose(got, expected, atol=tolerance)
    assert report.parity.max_abs <= tolerance and report.parity.samples == 60
    assert report.parity.agreement == np.mean(got.argmax(1) == expected.argmax(1))
    assert report.accuracy_file == np.mean(got.argmax(1) == labels) > 0.8
    assert report.accuracy_model == np.mean(expected.argmax(1) == labels)
    assert report.labels == ("a", "b", "c") and report.input_range == (0.0, 255.0)
    assert report.preprocessing == "in the graph: Rescaling(scale=0.00784313725490196, offset=-1)"
    assert report.size_bytes == path.stat().st_size
    assert (report.inputs[0].name, report.inputs[0].shape) == ("image", (1, 8, 8, 3))
    assert ("float16" in report.dtypes) == (precision == "float16")
    assert export.Report.from_json(report.to_json()) == report
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_holdouts_of_every_kind(trained, data, tmp_path):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(7)
    reports = [
        export.to_tflite(trained, tmp_path / f"{i}.tflite", holdout=holdout)
        for i, holdout in enumerate((batches, data, data[0], None))
    ]
    assert reports[0].accuracy_file == reports[1].accuracy_file is not None
    assert [report.parity.samples for report in reports] == [60, 60, 60, 16]
    for report, why in ((reports[2], "the holdout has no labels"), (reports[3], "there is no holdout")):
        assert report.accuracy_file is None and report.not_measured == why
    assert reports[0].not_measured == ""


def test_operations_that_are_not_built_in_are_refused(tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: tf.math.igamma(x + 1.0, x + 2.0))(inputs))
    with pytest.raises(export.ExportError, match="built-in operations"):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_inputs_and_outputs_by_name(tmp_path):
    """In another order than the alphabet's and the file's, with names that TFLite can't have."""
    b, a = keras.Input((3,), name="the b"), keras.Input((2,), dtype="int32", name="a")
    c = keras.Input((4,), name="c")
    joined = keras.layers.Concatenate()([b, keras.ops.cast(a, "float32"), c])
    dense = keras.layers.Dense
    inputs = {"the b": b, "c": c, "a": a}
    model = keras.Model(inputs, {"z": dense(2)(joined), "m": dense(4)(joined), "y-1": dense(3)(joined)})
    rng = np.random.default_rng(0)
    data = {
        "the b": rng.normal(size=(20, 3)).astype("float32"), "c": rng.normal(size=(20, 4)).astype("float32"),
        "a": rng.integers(0, 9, (20, 2)).astype("int32"),
    }  # fmt: skip
    report = export.to_tflite(model, tmp_path / "model.tflite", holdout=data)
    shapes = {t.name: (t.shape, t.dtype) for t in report.inputs}
    assert shapes == {"the_b": ((1, 3), "float32"), "c": ((1, 4), "float32"), "a": ((1, 2), "int32")}
    assert {t.name: t.shape for t in report.outputs} == {"z": (1, 2), "m": (1, 4), "y_1": (1, 3)}
    run = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    expected = model.predict(data, verbose=0)
    for i in range(20):
        got = run(the_b=data["the b"][i : i + 1], c=data["c"][i : i + 1], a=data["a"][i : i + 1])
        for key, name in (("z", "z"), ("m", "m"), ("y-1", "y_1")):
            np.testing.assert_allclose(got[name][0], expected[key][i], atol=1e-5)
    bare = export.to_tflite(model, tmp_path / "bare.tflite")  # on random inputs
    assert bare.parity.max_relative < 1e-5
    with pytest.raises(ValueError, match="inputs are named.*'the b'"):
        export.to_tflite(model, tmp_path / "no.tflite", holdout={"the_b": data["the b"]})


@pytest.mark.parametrize("precision", export.PRECISIONS)
def test_any_batch_size(trained, data, tmp_path, precision):
    path = tmp_path / "model.tflite"
    report = export.to_tflite(trained, path, precision=precision, representative_data=data, batch=None)
    assert report.inputs[0].shape == (-1, 8, 8, 3)
    runner = Interpreter(str(path)).get_signature_runner()
    expected = trained.predict(data[0], verbose=0)
    for size in (1, 60, 7):
        got = runner(image=data[0][:size])["scores"]
        assert np.abs(got - expected[:size]).max() < (1e-5 if precision == "float32" else 0.1)


@pytest.mark.parametrize("precision", ["float32", "weight_only", "int8"])
def test_any_image_size(data, tmp_path, precision):
    """Open axes take a holdout that says which size to check."""
    inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 127.5, -1.0)(inputs))
    outputs = keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*data, epochs=5, verbose=0)
    path = tmp_path / "model.tflite"
    report = export.to_tflite(model, path, precision=precision, representative_data=data)
    assert report.inputs[0].shape == (1, -1, -1, 3)
    largest = np.abs(model.predict(data[0], verbose=0)).max()
    for size in (8, 12):
        image = np.random.default_rng(0).uniform(0, 255, (1, size, size + 1, 3)).astype("float32")
        got = Interpreter(str(path)).get_signature_runner()(image=image)["logits"]
        expected = model.predict(image, verbose=0)
        allowed = {"float32": 1e-5, "weight_only": 0.05, "int8": 0.1}[precision]
        assert np.abs(got - expected).max() <= allowed * largest


def test_open_lengths_up_to_a_greatest_one_are_checked_at_a_shorter(tmp_path):
    class Positions(keras.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(6, shape[-1]), name="table")

        def call(self, x):
            return x + self.table[: keras.ops.shape(x)[1]]

    inputs = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(Positions()(keras.layers.Embedding(9, 4)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2, name="y")(x))
    ids = np.random.default_rng(0).integers(0, 9, (20, 6)).astype("int32")
    tried = [sample["ids"].shape for sample, _ in Subject.of(model, holdout=ids).larger()]
    assert tried == [(1, 5)]
    export.to_tflite(model, tmp_path / "model.tflite", holdout=ids)
    run = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    for length in (6, 4):
        expected = model.predict(ids[:1, :length], verbose=0)
        np.testing.assert_allclose(run(ids=ids[:1, :length])["y"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int4"}, ValueError, "float16.*float32"),
        ({"labels": ["a", "b"]}, ValueError, "2 labels.*3 outputs"),
        ({"labels": ["a", "a", "b"]}, ValueError, "unique"),
        ({"labels": ["a", "", "b"]}, ValueError, "none of them empty"),
        ({"normalization": (127, 128)}, ValueError, "applied twice"),
        ({"path": "model.lite"}, ValueError, "ends in .tflite"),
        ({"path": "no/model.tflite"}, FileNotFoundError, "no folder"),
    ],
)
def test_bad_arguments_write_nothing(trained, tmp_path, options, error, message):
    path = tmp_path / options.pop("path", "model.tflite")
    with pytest.raises(error, match=message):
        export.to_tflite(trained, path, **options)
    assert list(tmp_path.iterdir()) == []


def test_preprocessing_is_recorded_where_the_model_has_none(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    report = export.to_tflite(model, tmp_path / "a.tflite", normalization=(127.0, 128.0))
    assert report.preprocessing == "by the client: (x - 127.0) / 128.0"
    assert export.to_tflite(model, tmp_path / "b.tflite").preprocessing == "none"


def test_open_shapes_and_existing_files(trained, tmp_path):
    open_shape = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()])
    open_shape.add(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="open axes"):
        export.to_tflite(open_shape, tmp_path / "model.tflite")
    (tmp_path / "model.tflite").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        export.to_tflite(trained, tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").read_bytes() == b"mine"
