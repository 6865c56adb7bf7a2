"""Where int8 loses most."""

import keras
import numpy as np
import pytest
from kerasft.export.tflite_file.litert import LiteRTModel
from kerasft.export.tflite_file.operations import read_operations
from kerasft.export.tflite_file.sensitivity import losses
from small_models import classifier, fitted, images

from kerasft import export


def test_the_operation_that_loses_most_is_named(tmp_path):
    """One value of the second layer's output is 5,000 times the others, which leaves them no steps."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="x")
    x = keras.layers.Dense(8, activation="relu", name="first")(inputs)
    wide = keras.layers.Dense(8, name="wide")
    x = keras.layers.Dense(4, name="last")(wide(x))
    model = keras.Model(inputs, x)
    kernel, bias = wide.get_weights()
    kernel[:, 0] *= 5000
    wide.set_weights([kernel, bias])
    last, zero = model.get_layer("last").get_weights()
    last[0] = 0  # the large value itself does not matter
    model.get_layer("last").set_weights([last, zero])
    data = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    export.to_tflite(model, tmp_path / "f.tflite", holdout=data)
    export.to_tflite(
        model, tmp_path / "q.tflite", precision="int8", io="int8", representative_data=data, tolerance=10.0
    )
    float_file, int8_file = ((tmp_path / n).read_bytes() for n in ("f.tflite", "q.tflite"))
    samples = [{"x": row[None]} for row in data[:4]]
    found = losses(float_file, int8_file, samples, most=2)
    (output,) = [o.outputs[0].name for o in read_operations(float_file)][-1:]
    assert (found[0].tensor, found[0].operation) == (output, "FULLY_CONNECTED")
    assert found[0].before_db > 30 and found[0].after_db < 10
    assert "FULLY_CONNECTED" in str(found[0]) and "dB" in str(found[0])
    same = losses(float_file, float_file, samples)
    assert all(loss.lost_db == 0 or loss.after_db > 100 for loss in same)


def test_the_ratio_of_an_output_is_that_of_the_files(tmp_path):
    """10 log10 of the sum of squares by that of the differences, of what the two files give."""
    model = fitted(classifier())
    held, _ = images(8, 1)
    for name, options in (("f", {}), ("q", {"precision": "int8", "representative_data": images()})):
        export.to_tflite(model, tmp_path / f"{name}.tflite", holdout=held, **options)
    paths = [tmp_path / "f.tflite", tmp_path / "q.tflite"]
    samples = [{"image": row[None]} for row in held]
    found = losses(*(p.read_bytes() for p in paths), samples, most=100)
    files = [LiteRTModel(str(p)) for p in paths]
    exact, rough = (np.concatenate([f(s)["scores"] for s in samples]).astype("float64") for f in files)
    (last,) = [loss for loss in found if loss.operation == "SOFTMAX"]
    by_hand = 10 * np.log10(np.sum(exact**2) / np.sum((exact - rough) ** 2))
    assert last.after_db == pytest.approx(by_hand, abs=0.5)
    assert last.lost_db == last.before_db - last.after_db
    assert [loss.lost_db for loss in found] == sorted((loss.lost_db for loss in found), reverse=True)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= {loss.operation for loss in found}
    assert len(losses(*(p.read_bytes() for p in paths), samples, most=2)) == 2


def test_an_operation_of_two_inputs_is_held_against_the_worse_one(tmp_path):
    """It is not charged with noise that one of them brings."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="x")
    fine, rough = keras.layers.Dense(8)(inputs), keras.layers.Dense(8, name="rough")
    x = keras.layers.Add()(
        [keras.layers.Activation("tanh")(fine), keras.layers.Activation("tanh")(rough(inputs))]
    )
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    kernel, bias = rough.get_weights()
    kernel[:, 0] *= 500  # tanh keeps the others, of which few steps are left
    rough.set_weights([kernel, bias])
    data = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    export.to_tflite(model, tmp_path / "f.tflite", holdout=data)
    export.to_tflite(model, tmp_path / "q.tflite", precision="int8", representative_data=data, tolerance=10.0)
    content = (tmp_path / "f.tflite").read_bytes()
    samples = [{"x": row[None]} for row in data[:4]]
    found = losses(content, (tmp_path / "q.tflite").read_bytes(), samples, most=100)
    after = {loss.tensor: loss.after_db for loss in found}
    (add,) = [o for o in read_operations(content) if o.name == "ADD"]
    of_inputs = sorted(after[t.name] for t in add.inputs)
    (said,) = [loss for loss in found if loss.operation == "ADD"]
    assert said.before_db == of_inputs[0] < of_inputs[1] - 3
