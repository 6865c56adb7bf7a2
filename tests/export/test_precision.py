"""Every precision from one float file, by the quantizer or the converter."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export import precision
from kerasft.export.census import in_float, read_operations
from kerasft.export.convert import saved
from kerasft.export.precision import Variants, unsigned_edges
from kerasft.export.representative import Calibration, calibration
from kerasft.export.runtime import quiet
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def variants(model):
    chosen = calibration(model, images(), labels=None, input_range=None)
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
    monkeypatch.setattr(precision, "has_quantizer", lambda: installed)
    if kind == "weight_only" and not installed:
        with pytest.raises(export.ExportError, match=r'pip install "kerasft\[quantize\]"'):
            variants.make(kind)
        return
    content, maker = variants.make(kind)
    assert maker == ("ai-edge-quantizer" if installed else "converter")
    stored = {t.dtype for o in read_operations(content) for t in o.inputs if t.constant and len(t.shape) == 4}
    if installed or kind == "float16":  # the converter leaves small weights in float
        assert dtypes <= stored
    x, _ = images(12, 1)
    expected = model.predict(x, verbose=0)
    got = np.concatenate([run(content, row[None])[1] for row in x])
    assert 0 < np.abs(got - expected).max() < allowed or not installed


@pytest.mark.parametrize("installed", [True, False])
def test_int8_is_all_integer_and_its_three_edges_agree(model, variants, monkeypatch, installed):
    monkeypatch.setattr(precision, "has_quantizer", lambda: installed)
    files = {io: variants.make("int8", io)[0] for io in ("float", "int8", "uint8")}
    x, _ = images(12, 1)
    expected = model.predict(x, verbose=0)
    for row, scores in zip(x, expected, strict=True):
        raw, value = {}, {}
        for io, content in files.items():
            raw[io], value[io] = run(content, row[None])
        assert [raw[io].dtype.name for io in files] == ["float32", "int8", "uint8"]
        np.testing.assert_array_equal(raw["uint8"].astype(int), raw["int8"].astype(int) + 128)
        np.testing.assert_allclose(value["int8"], value["float"], atol=1e-6)
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
        quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
        from ai_edge_quantizer import recipe

        theirs = quantizer.Quantizer(bytearray(Variants(folder, None).float32), recipe.static_wi8_ai8())
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


def test_only_edges_that_are_converted_can_be_unsigned(variants):
    with pytest.raises(export.ExportError, match="can't be uint8"):
        unsigned_edges(variants.float32)
