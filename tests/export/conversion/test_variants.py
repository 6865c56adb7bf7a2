"""Every precision from one float file, by the quantizer or the converter."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.conversion import variants as module
from kerasft.export.conversion.process import saved
from kerasft.export.conversion.variants import Variants
from kerasft.export.model.calibration import Calibration, calibration
from kerasft.export.tflite_file.litert import dequantized, quantized, quiet
from kerasft.export.tflite_file.operations import in_float, read_operations
from quantizers import quantizer_name, quantizer_part
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def variants(model):
    chosen = calibration(model, images(), labels=None)
    with saved(model, 1) as folder:
        yield Variants(folder, chosen)


def run(content, image):
    """The scores of an image of floats, in the model's units."""
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    ((name, said),) = runner.get_input_details().items()
    scale, zero = said["quantization"]
    if scale:
        limits = np.iinfo(said["dtype"])
        image = np.clip(np.round(image / scale + zero), limits.min, limits.max).astype(said["dtype"])
    (out,) = runner.get_output_details().values()
    (raw,) = runner(**{name: image}).values()
    scale, zero = out["quantization"]
    return raw, (raw.astype("float64") - zero) * scale if scale else raw


@pytest.mark.parametrize(
    ("kind", "dtypes", "allowed"),
    [("float16", {"float16"}, 2e-3), ("weight_only", {"int8"}, 0.05), ("dynamic", {"int8"}, 0.05)],
)
@pytest.mark.parametrize("installed", [True, False])
def test_weights_are_stored_smaller(model, variants, monkeypatch, kind, dtypes, allowed, installed):
    if not installed:
        monkeypatch.setattr(module, "installed_quantizer", lambda: None)
    if kind == "weight_only" and not installed:
        with pytest.raises(export.ExportError, match=r'pip install "kerasft\[quantize\]"'):
            variants.make(kind)
        return
    content, maker = variants.make(kind)
    assert maker == (quantizer_name() if installed else "converter")
    stored = {t.dtype for o in read_operations(content) for t in o.inputs if t.constant and len(t.shape) == 4}
    if installed or kind == "float16":  # the converter leaves small weights in float
        assert dtypes <= stored
    x, _ = images(12, 1)
    expected = model.predict(x, verbose=0)
    got = np.concatenate([run(content, row[None])[1] for row in x])
    assert 0 < np.abs(got - expected).max() < allowed or not installed


@pytest.mark.parametrize("installed", [True, False])
def test_int8_is_all_integer_and_its_three_edges_agree(model, variants, monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(module, "installed_quantizer", lambda: None)
    files = {io: variants.make("int8", io)[0] for io in ("float", "int8", "uint8")}
    x, _ = images(12, 1)
    expected = model.predict(x, verbose=0)
    for row, scores in zip(x, expected, strict=True):
        raw, value = {}, {}
        for io, content in files.items():
            raw[io], value[io] = run(content, row[None])
        assert [raw[io].dtype.name for io in files] == ["float32", "int8", "uint8"]
        np.testing.assert_array_equal(raw["uint8"].astype(int), raw["int8"].astype(int) + 128)
        np.testing.assert_array_equal(value["int8"].astype("float32"), value["float"])
        assert np.abs(value["float"] - scores).max() < 0.15
    assert all(in_float(read_operations(content)) == [] for content in files.values())


def test_ranges_do_not_depend_on_the_order_of_samples(model):
    """The quantizer's own calibration takes moving averages, which forget the first samples."""
    x, y = images(120)
    order = np.argsort(-y, kind="stable")  # the brightest first
    ordered = Calibration(tuple({"image": row[None]} for row in x[order]))
    backwards = Calibration(tuple(reversed(ordered.samples)))
    with saved(model, 1) as folder:
        files = [Variants(folder, c).make("int8")[0] for c in (ordered, backwards)]
        recipe, content = quantizer_part("recipe").static_wi8_ai8(), bytearray(Variants(folder, None).float32)
        theirs = quantizer_part("quantizer").Quantizer(content, recipe)
        with quiet():
            ranges = theirs.calibrate({"serving_default": ordered.samples})
            theirs = theirs.quantize(ranges, enable_progress_report=False).quantized_model
    assert files[0] == files[1]
    brightest = x[y == 2][:8]
    expected = model.predict(brightest, verbose=0)

    def off(content):
        return max(np.abs(run(content, row[None])[1] - e).max() for row, e in zip(brightest, expected))

    assert off(files[0]) < 0.1 < off(bytes(theirs))


def sine():
    """A model with an operation that has no integer kernel."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), name="x")
    x = keras.layers.Lambda(lambda t: tf.sin(t))(keras.layers.Dense(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def test_what_stays_in_float_is_refused_by_name(tmp_path):
    data = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    path = tmp_path / "m.tflite"
    with pytest.raises(export.ExportError, match=r"would compute in float: .*SIN.*weight_only.*strict=False"):
        export.to_tflite(sine(), path, precision="int8", representative_data=data)
    assert list(tmp_path.iterdir()) == []
    report = export.to_tflite(sine(), path, precision="int8", representative_data=data, strict=False)
    assert "SIN" in report.operations and report.parity.rms_relative < 0.2


@pytest.fixture(scope="module")
def eights():
    """Samples for models that take eight numbers."""
    return np.random.default_rng(1).normal(size=(64, 8)).astype("float32")


def two_readers(x):
    dense = keras.layers.Dense
    return dense(3, name="y")(keras.layers.Add()([dense(4)(x), dense(4)(keras.layers.ReLU()(x))]))


def output_read_again(x):
    y = keras.layers.Dense(4, name="y")(x)
    return [y, keras.layers.Dense(3, name="z")(keras.layers.ReLU()(y))]


def input_given_back(x):
    return [keras.layers.Reshape((2, 4), name="z")(x), keras.layers.Dense(3, name="y")(x)]


def exponential(x):
    return keras.layers.Dense(3, name="y")(keras.ops.exp(keras.layers.Dense(6)(x)))


@pytest.mark.parametrize(
    ("build", "maker"),
    [
        (two_readers, "quantizer"),
        (output_read_again, "quantizer"),
        (input_given_back, "quantizer"),
        (exponential, "converter"),  # the quantizer leaves EXP in float
    ],
)
def test_edges_agree_whatever_reads_them_and_whatever_makes_them(eights, tmp_path, build, maker):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="x")
    model = keras.Model(inputs, build(inputs))
    expected = dict(zip(model.output_names, tf.nest.flatten(model.predict(eights, verbose=0)), strict=True))
    raw, infos = {}, {}
    for io in ("float", "int8", "uint8"):
        path = tmp_path / f"{io}.tflite"
        report = export.to_tflite(model, path, precision="int8", io=io, representative_data=eights)
        assert report.made_by == (maker if maker == "converter" else quantizer_name())
        assert in_float(read_operations(path.read_bytes())) == []
        runner, (taken,) = Interpreter(str(path)).get_signature_runner(), report.inputs
        assert taken.dtype == ("float32" if io == "float" else io)
        answers = [runner(x=quantized(row[None], taken)) for row in eights]
        raw[io] = {name: np.concatenate([a[name] for a in answers]) for name in expected}
        infos[io] = {o.name: o for o in report.outputs}
    for name, values in expected.items():
        signed, unsigned = infos["int8"][name], infos["uint8"][name]
        assert (unsigned.scale, unsigned.zero_point) == (signed.scale, signed.zero_point + 128)
        np.testing.assert_array_equal(raw["uint8"][name], raw["int8"][name].astype(int) + 128)
        np.testing.assert_array_equal(raw["float"][name], dequantized(raw["int8"][name], signed))
        assert np.abs(raw["float"][name] - values).max() < 0.1 * np.abs(values).max()


def test_token_ids_stay_integers(tmp_path):
    keras.utils.set_random_seed(0)
    ids = np.random.default_rng(0).integers(0, 11, (64, 5)).astype("int32")
    inputs = keras.Input((5,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(11, 6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="y")(x))
    expected = model.predict(ids, verbose=0)
    for io in ("float", "int8", "uint8"):
        path = tmp_path / f"{io}.tflite"
        report = export.to_tflite(model, path, precision="int8", io=io, representative_data=ids)
        assert (report.inputs[0].dtype, report.inputs[0].scale) == ("int32", None)
        runner, (given,) = Interpreter(str(path)).get_signature_runner(), report.outputs
        got = np.concatenate([dequantized(runner(ids=row[None])["y"], given) for row in ids])
        assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_an_older_file_survives_a_refusal(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    data = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    with pytest.raises(export.ExportError, match="would compute in float"):
        export.to_tflite(sine(), path, precision="int8", representative_data=data, overwrite=True)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_int8_needs_representative_data(model, tmp_path):
    for options, message in (
        ({"precision": "int8"}, r"int8 needs representative_data.*weight_only"),
        ({"io": "uint8"}, r"io='uint8' goes with precision=\"int8\""),
        ({"precision": "int8", "io": "int16"}, "io is one of"),
    ):
        with pytest.raises(ValueError, match=message):
            export.to_tflite(model, tmp_path / "m.tflite", **options)
    assert list(tmp_path.iterdir()) == []


def test_ranges_measured_for_one_kind_of_edge_serve_the_others(model):
    chosen = calibration(model, images(), labels=None)
    with saved(model, 1) as folder:
        both, alone = Variants(folder, chosen), Variants(folder, chosen)
        both.make("int8", "float")
        assert both.make("int8", "int8")[0] == alone.make("int8", "int8")[0]


def test_operations_that_are_not_built_in_are_refused(monkeypatch, variants):
    monkeypatch.setattr(module, "custom", lambda operations: ["FlexIgamma"])
    with pytest.raises(export.ExportError, match=r"not built in: \['FlexIgamma"):
        variants.make("float32")


class ClassToken(keras.layers.Layer):
    """A learned token before the others, as vision transformers have it."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal", name="token")

    def call(self, x):
        token = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, x.shape[-1]))
        return keras.ops.concatenate([token, x], axis=1)


def with_a_class_token():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Reshape((4, 8))(keras.layers.Conv2D(8, 4, 4)(image))
    x = ClassToken(name="class_token")(x)
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(x))
    return fitted(keras.Model(image, keras.layers.Dense(3, activation="softmax", name="scores")(x)))


def test_int8_of_a_class_token_is_refused_in_words(tmp_path):
    """The quantizer stumbles over ranks, and LiteRT does not load the converter's file."""
    model, (x, y) = with_a_class_token(), images()
    message = r"can't quantize a weight that is joined.*class token.*TFLite's converter was tried, too"
    with pytest.raises(export.ExportError, match=message) as caught:
        export.to_tflite(model, tmp_path / "model.tflite", precision="int8", representative_data=(x, y))
    assert "weight_only, dynamic, float16, float32 can be exported" in str(caught.value)
    assert not list(tmp_path.iterdir())
    found = export.ladder(
        model, tmp_path / "all", representative_data=(x, y), variants=["int8", "weight_only"]
    )
    assert set(found.reports) == {"weight_only"} and "class token" in found.failures["int8"]


def refuse():
    raise export.ExportError("no.")


@pytest.mark.parametrize("width", [4, 64])
def test_a_file_of_the_quantizer_that_does_not_run(width, monkeypatch, tmp_path):
    """The converter makes dynamic instead, unless that would leave all weights in float."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Dense(width, activation="relu")(keras.layers.Flatten()(image))
    model = fitted(keras.Model(image, keras.layers.Dense(3, activation="softmax", name="scores")(x)))
    real_make, real_run, made = Variants._quantized, Variants._run, []

    def make(self, precision, io):
        content = real_make(self, precision, io)
        made.extend([content] if precision == "dynamic" else [])
        return content

    def run(self, content):
        if content in made:
            raise export.ExportError("LiteRT can't load the file: Node number 0 failed to prepare")
        real_run(self, content)

    monkeypatch.setattr(Variants, "_quantized", make)
    monkeypatch.setattr(Variants, "_run", run)
    path = tmp_path / "model.tflite"
    if width == 64:
        report = export.to_tflite(model, path, precision="dynamic")
        assert report.made_by == "converter" and report.dtypes["int8"] >= 1
        return
    message = r"makes, but LiteRT can't run, dynamic.*all weights in float.*weight_only, float16, float32 can"
    with pytest.raises(export.ExportError, match=message):
        export.to_tflite(model, path, precision="dynamic")
    assert not list(tmp_path.iterdir())
    found = export.ladder(model, tmp_path / "all", variants=["float32", "dynamic"])
    assert set(found.reports) == {"float32"} and "can't run" in found.failures["dynamic"]


def test_sizes_that_would_help_are_named(monkeypatch, tmp_path):
    """Of a model that converts with the sizes of the data alone, as DeBERTa does."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(2, name="scores")(x))
    data = np.arange(30).reshape(5, 6) % 9
    real = Variants._converted

    def converted(self, precision, io):
        made = real(self, precision, io)
        signature = tf.saved_model.load(str(self._saved_model)).signatures["serving_default"]
        return made if None not in signature.inputs[0].shape else refuse()

    monkeypatch.setattr(Variants, "_converted", converted)
    with pytest.raises(export.ExportError, match=r"no. With the sizes of the data it can be.*'ids': \[6\]"):
        export.to_tflite(model, tmp_path / "model.tflite", holdout=data)
    fixed = keras.Input((6,), dtype="int32", name="ids")
    export.to_tflite(keras.Model(fixed, model(fixed)), tmp_path / "model.tflite", holdout=data)


def test_loops_are_named_at_every_edge(tmp_path):
    """Whichever maker stumbles over a loop, the message has what to do about it."""
    steps = keras.Input((6, 4), name="steps")
    model = keras.Model(
        steps, keras.layers.Dense(2, name="scores")(keras.layers.LSTM(3, name="memory")(steps))
    )
    x = np.random.default_rng(0).normal(size=(40, 6, 4)).astype("float32")
    found = export.ladder(
        model, tmp_path / "all", representative_data=x, variants=["float32", "int8", "int8_io"]
    )
    assert set(found.reports) == {"float32"}
    for why in found.failures.values():
        assert "unroll=True in the recurrent layers was tried" in why and "can be exported" in why
