"""What computes the outputs of a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.conversion.process import saved
from kerasft.export.conversion.variants import Variants
from kerasft.export.model.calibration import calibration
from kerasft.export.tflite_file.producers import producers


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_last_operation_of_each_output_under_its_name(precision):
    inputs = keras.Input((4,), name="x")
    dense = keras.layers.Dense
    outputs = {
        "probability": dense(2, activation="softmax")(inputs),
        "labels": dense(3, activation="sigmoid")(inputs),
        "joined": keras.layers.Concatenate()([dense(2)(inputs), dense(2, activation="tanh")(inputs)]),
        "turned": keras.layers.Permute((2, 1))(keras.layers.Reshape((3, 2))(dense(6)(inputs))),
        "plain": keras.layers.Reshape((2, 1))(dense(2)(inputs)),
    }
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    chosen = calibration(model, data, labels=None)
    with saved(model, 1) as folder:
        content, _ = Variants(folder, chosen).make(precision)
    assert producers(content) == {
        "probability": "SOFTMAX", "labels": "LOGISTIC", "joined": "CONCATENATION", "plain": "FULLY_CONNECTED",
        "turned": "FULLY_CONNECTED",
    }  # fmt: skip


def test_of_a_signature_by_its_name(tmp_path):
    named = {
        "one": tf.function(lambda x: {"y": tf.nn.softmax(x)}),
        "two": tf.function(lambda x: {"y": tf.tanh(x)}),
    }
    spec = tf.TensorSpec((1, 4), tf.float32, name="x")
    traced = {name: f.get_concrete_function(x=spec) for name, f in named.items()}
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=traced)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["one", "two"])
    content = converter.convert()
    assert producers(content, "one") == {"y": "SOFTMAX"} and producers(content, "two") == {"y": "TANH"}
