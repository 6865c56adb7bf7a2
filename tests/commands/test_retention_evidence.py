"""What a job stores of retention, against `Retention` itself and models that are put together by hand."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.commands.evidence import Evidence
from kerasft.commands.retention_evidence import retention_evidence
from kerasft.commands.workspace import Workspace
from kerasft.stages import linear_cka

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.arange(40) % 3


def workspace(tmp_path):
    for name in ("results", "state", "scratch"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Workspace(*(tmp_path / name for name in ("results", "state", "scratch")), False)


def fitted(model, evidence, epochs, initial_epoch=0, last=()):
    """Train all of it; the callbacks of `last` come before retention's end."""
    train = tf.data.Dataset.from_tensor_slices((X, Y)).batch(40)
    callbacks = [*last, *retention_evidence(evidence, kerasft.find_stages(model), train)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    options = {"epochs": epochs, "initial_epoch": initial_epoch, "shuffle": False, "verbose": 0}
    history = model.fit(train, callbacks=callbacks, **options)
    assert set(history.history) == {"loss"}
    return callbacks


def gram(features):
    features = features - features.mean(0)
    return features @ features.T


def outputs(model):
    first = model.layers[0](X[:32])
    return [first.numpy(), model.layers[1](first).numpy()]


def test_rows_are_those_of_the_pretrained_stages(dense_model, tmp_path):
    evidence = Evidence(workspace(tmp_path))
    before, weights = outputs(dense_model), dense_model.layers[0].get_weights()
    fitted(dense_model, evidence, 2)
    found = json.loads((tmp_path / "state" / "evidence.json").read_text())["retention"]
    assert found["stages"] == ["first", "second"]  # the head is new
    assert np.shape(found["cka"]) == np.shape(found["distance"]) == (2, 2)
    expected = [linear_cka(gram(a), gram(b)) for a, b in zip(before, outputs(dense_model))]
    np.testing.assert_allclose(found["cka"][-1], expected, atol=1e-5)
    assert found["cka_in_the_end"] == found["cka"][-1] and min(found["cka"][-1]) < 0.9999
    whole = [np.concatenate([w.ravel() for w in ws]) for ws in (weights, dense_model.layers[0].get_weights())]
    far = np.linalg.norm(whole[1] - whole[0]) / np.linalg.norm(whole[0])
    assert found["distance"][-1][0] == pytest.approx(far, rel=1e-5)


def test_a_resumed_job_goes_on_with_its_rows(dense_model, tmp_path):
    evidence = Evidence(workspace(tmp_path))
    fitted(dense_model, evidence, 3)
    first = evidence.sections["retention"]
    again = Evidence(workspace(tmp_path))
    fitted(dense_model, again, 3, initial_epoch=2)
    rows = again.sections["retention"]["cka"]
    assert len(rows) == 3 and rows[:2] == first["cka"][:2] and rows[2] != first["cka"][2]


def test_a_job_that_an_earlier_version_began_stores_none(dense_model, tmp_path):
    evidence = Evidence(workspace(tmp_path))
    fitted(dense_model, evidence, 3, initial_epoch=1)
    assert "retention" not in evidence.sections


class Back(keras.callbacks.Callback):
    """Takes the weights back in the end, as a schedule does that goes back to its best epoch."""

    def on_train_begin(self, logs=None):
        self.weights = self.model.get_weights()

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


def test_the_end_is_measured_after_a_return_to_earlier_weights(dense_model, tmp_path):
    evidence = Evidence(workspace(tmp_path))
    fitted(dense_model, evidence, 2, last=[Back()])
    found = evidence.sections["retention"]
    assert found["cka_in_the_end"] == [1.0, 1.0] and min(found["cka"][-1]) < 1


def test_there_is_none_where_nothing_can_be_compared(dense_model, tmp_path):
    evidence, stages = Evidence(workspace(tmp_path)), kerasft.find_stages(dense_model)
    few = tf.data.Dataset.from_tensor_slices((X[:2], Y[:2])).batch(8)
    assert retention_evidence(evidence, stages, few) == []
    alone = kerasft.find_stages(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="top")]))
    assert retention_evidence(evidence, alone, few.repeat(2).unbatch().batch(4)) == []
