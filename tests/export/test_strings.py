"""Models that begin with text: a SavedModel from strings, a .tflite file from token ids."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasft import export

TEXTS = ["a b c", "b c d", "a a", "d"]


@pytest.fixture(scope="module")
def parts():
    """What splits text, and what classifies its token ids, trained for a moment."""
    split = keras.layers.TextVectorization(10, output_sequence_length=4)
    split.adapt(TEXTS)
    ids = keras.Input((4,), dtype="int64", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 3)(ids))
    classifier = keras.Model(ids, keras.layers.Dense(2, activation="softmax", name="scores")(x))
    classifier.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    classifier.fit(np.array(split(tf.constant(TEXTS))), np.array([0, 1, 0, 1]), epochs=5, verbose=0)
    return split, classifier


def test_two_files_are_exported_and_agree(parts, tmp_path):
    split, classifier = parts
    text = keras.Input((), dtype="string", name="text")
    whole = keras.Model(text, classifier(split(text)))
    with pytest.raises(ValueError, match=r"inputs \['text'\] are strings.*to_saved_model of the whole model"):
        export.to_tflite(whole, tmp_path / "model.tflite")
    ids = split(tf.constant(TEXTS)).numpy()
    expected = classifier.predict(ids, verbose=0)
    assert np.ptp(expected) > 0.05
    for reusable in (False, True):
        path = export.to_saved_model(whole, tmp_path / "saved", reusable=reusable, overwrite=True)
        served = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(TEXTS))
        (scores,) = served.values()
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    export.to_tflite(classifier, tmp_path / "model.tflite", holdout=ids)
    run = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    got = np.concatenate([run(ids=row[None])["scores"] for row in ids])
    np.testing.assert_allclose(got, expected, atol=1e-6)
