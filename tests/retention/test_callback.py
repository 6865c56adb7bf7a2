"""Retention against numpy and plain Keras: distances, CKA of outputs, accuracy under the original's head."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from html_tables import Shown, unseen

import kerasft
from kerasft import GradualUnfreezing, Phase, PrefixCache, Retention
from kerasft.stages import StageOutputs, linear_cka


def cka(a, b):
    """The definition by features."""
    a, b = (v.reshape(len(v), -1).astype("float64") for v in (a, b))
    a, b = a - a.mean(0), b - b.mean(0)
    return np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))


def net(units=3, name="top", seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(6, "tanh", name="a"), keras.layers.Dense(5, "tanh", name="b")]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(units, name=name)], name="net")


def fine_tuned(original, units=3):
    model = net(units, "new", seed=1)
    for mine, theirs in zip(model.layers[:2], original.layers[:2], strict=True):
        mine.set_weights(theirs.get_weights())
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(24, 3)).astype("float32")
SOURCE = X, np.random.default_rng(2).integers(0, 7, 24)


class Weights(keras.callbacks.Callback):
    """The weights after each epoch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())


def test_it_measures_what_plain_keras_gives():
    original = net(7)
    kept = original.get_weights()
    model, weights = fine_tuned(original), Weights()
    retention = Retention(original, X, source=SOURCE, samples=16)
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[retention, weights]).history
    assert [(r["epoch"], r["stage"]) for r in retention.history] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    for epoch, values in enumerate(weights.seen):
        rows = retention.history[2 * epoch : 2 * epoch + 2]
        outputs = []
        for w in (kept, values):
            a = np.tanh(X[:16] @ w[0] + w[1])
            outputs.append((a, np.tanh(a @ w[2] + w[3])))
        for i, row in enumerate(rows):
            assert row["cka"] == pytest.approx(cka(outputs[0][i], outputs[1][i]), abs=1e-4)
            now, before = (np.concatenate([v.ravel() for v in w[2 * i : 2 * i + 2]]) for w in (values, kept))
            distance = np.linalg.norm(now - before) / np.linalg.norm(before)
            assert row["distance"] == pytest.approx(distance, rel=1e-5)
            assert row["cka"] < 0.9999 and distance > 0.01
        hidden = np.tanh(np.tanh(X @ values[0] + values[1]) @ values[2] + values[3])
        accuracy = np.mean((hidden @ kept[4] + kept[5]).argmax(1) == SOURCE[1])
        assert history["retention_source_accuracy"][epoch] == pytest.approx(accuracy)
        assert history["retention_cka_min"][epoch] == min(row["cka"] for row in rows)
        assert history["retention_distance_max"][epoch] == max(row["distance"] for row in rows)
    scores = original.predict(X, verbose=0)
    assert retention.source_accuracy[0] == pytest.approx(np.mean(scores.argmax(1) == SOURCE[1]))
    for value, now in zip(kept, original.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)
    assert str(retention).splitlines()[1].split() == [
        "1", "a", f"{retention.history[0]['cka']:.4f}", f"{retention.history[0]['distance']:.4f}"
    ]  # fmt: skip
    assert unseen(retention) == [] and len(Shown(retention._repr_html_()).rows) == 1 + len(retention.history)


def test_training_is_the_same_with_it(image_model, image_data):
    x, y = image_data
    results = []
    start = image_model.get_weights()
    for with_it in (False, True):
        image_model.set_weights(start)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        image_model.compile(keras.optimizers.SGD(0.01), loss)
        callbacks = [Retention(image_model, x)] if with_it else []
        keras.utils.set_random_seed(0)
        image_model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks)
        results.append(image_model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_stages_are_left_out_with_a_schedule_and_the_cache(image_model, image_data, monkeypatch):
    x, y = image_data
    calls = []
    retention, cache = Retention(image_model, x[:8]), PrefixCache()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.Adam(0.01), kerasft.layerwise_decay(image_model, 0.5)
    )
    image_model.compile(kerasft.with_l2_sp(optimizer, 0.1, image_model), loss)
    measure = StageOutputs.similarities
    monkeypatch.setattr(
        StageOutputs, "similarities", lambda self, *given: calls.append(given[1:]) or measure(self, *given)
    )
    schedule = GradualUnfreezing([Phase("head", 2), Phase("block_2", 1)])
    image_model.fit(x, y, epochs=3, verbose=0, callbacks=[schedule, cache, retention])
    assert cache.reason is None
    rows = {(r["epoch"], r["stage"]): (r["cka"], r["distance"]) for r in retention.history}
    for epoch in (1, 2):
        assert [rows[epoch, name] for name in ("stem", "block_1", "block_2")] == [(1.0, 0.0)] * 3
        assert rows[epoch, "head"][1] > 0
    assert rows[3, "stem"] == rows[3, "block_1"] == (1.0, 0.0)
    assert rows[3, "block_2"][0] < 1.0 and rows[3, "block_2"][1] > 0
    assert calls == [(), (3,), (3,), (2,)]  # the original; the first stage that has moved
    found, expected = StageOutputs(retention._pairs.stages, 4), retention._before
    whole = found.similarities(x[:8])
    np.testing.assert_allclose(rows[3, "block_2"][0], linear_cka(whole[2], expected[2]), atol=1e-6)


def test_nothing_is_computed_while_no_stage_of_the_original_moves(monkeypatch):
    original = net(7)
    model = fine_tuned(original)
    kerasft.freeze(model, "new")
    retention, calls = Retention(original, X), []
    measure = StageOutputs.similarities
    monkeypatch.setattr(
        StageOutputs, "similarities", lambda self, *given: calls.append(given[1:]) or measure(self, *given)
    )
    logs = model.fit(X, Y, epochs=3, verbose=0, callbacks=[retention]).history
    assert logs["retention_cka_min"] == [1.0] * 3 and logs["retention_distance_max"] == [0.0] * 3
    assert calls == [()]  # the original


def test_a_shared_backbone_under_its_own_head(make_backbone, image_data):
    x, y = image_data
    x = x / 255
    backbone = make_backbone()
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    original = keras.Model(backbone.input, head(pooled))
    model = keras.Model(backbone.input, keras.layers.Dense(3, name="new")(pooled))
    model.compile(keras.optimizers.Adam(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features = keras.Model(backbone.input, pooled)
    callbacks = [
        Retention(original, x, source=(x, y)),
        Retention(features, x, head=head, source=tf.data.Dataset.from_tensor_slices((x, y)).batch(7)),
    ]
    model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks)
    last = np.mean(original.predict(x, verbose=0).argmax(1) == y)
    for retention in callbacks:
        assert retention.source_accuracy[-1] == pytest.approx(last)
        assert all(row["distance"] > 0 for row in retention.history)
    assert callbacks[0].history == callbacks[1].history
    with pytest.raises(ValueError, match=r"has no head for `source`. Give head="):
        model.fit(x, y, verbose=0, callbacks=[Retention(features, x, source=(x, y))])


def test_a_subclassed_model_has_distances_alone(caplog):
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.a, self.b = keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")

        def call(self, x):
            return self.b(self.a(x))

    model = Own()
    model(X)
    model.compile("sgd", "mse")
    stages = kerasft.find_stages(model, at=["a", "b"])
    retention = Retention(model, X, stages=stages)
    logs = model.fit(X, Y, verbose=0, callbacks=[retention]).history
    assert "is a subclassed model" in retention.reason and "There is no CKA" in caplog.text
    assert "retention_cka_min" not in logs and logs["retention_distance_max"][0] > 0
    assert all(np.isnan(row["cka"]) for row in retention.history)


def test_a_second_fit_begins_a_new_history_and_keeps_the_original():
    model = net()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    retention = Retention(before, X)
    model.fit(X, Y, verbose=0, callbacks=[retention])
    first = retention.history[0]["distance"]
    model.fit(X, Y, verbose=0, callbacks=[retention])
    assert len(retention.history) == 3 and retention.history[0]["distance"] > first > 0


def test_what_is_wrong_is_named():
    model = net()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"at least 3 samples.*\(2, 4\)"):
        Retention(model, X[:2])
    with pytest.raises(ValueError, match="samples is an integer of at least 3"):
        Retention(model, X, samples=2)
    with pytest.raises(TypeError, match="`source` is a pair"):
        Retention(model, X, source=X)
    with pytest.raises(ValueError, match="`head` is the head of a reference model"):
        Retention(model, X, head=keras.layers.Dense(2))
    with pytest.raises(ValueError, match=r"shape \[\(24, 3\)\]; 'net' takes \(None, 4\)"):
        model.fit(X, Y, verbose=0, callbacks=[Retention(model, X[:, :3])])
    with pytest.raises(ValueError, match="the first 2 stages agree|not the original"):
        other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(9), keras.layers.Dense(5)])
        model.fit(X, Y, verbose=0, callbacks=[Retention(other, X)])
    labels = np.full(24, 3)  # the model has scores for 0, 1 and 2
    with pytest.raises(ValueError, match=r"class numbers from 0 to 2.*values from 3 to 3"):
        model.fit(X, Y, verbose=0, callbacks=[Retention(model, X, source=(X, labels))])


def test_the_figure(tmp_path):
    model = net()
    model.compile("sgd", "mse")
    retention = Retention(model, X)
    with pytest.raises(ValueError, match="Nothing has been measured"):
        retention.plot()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[retention])
    figure = retention.plot(tmp_path / "retention.png")
    above, below = figure.axes
    assert (tmp_path / "retention.png").stat().st_size > 1000
    np.testing.assert_array_equal(above.lines[1].get_ydata(), [r["cka"] for r in retention.history[3:]])
    np.testing.assert_array_equal(below.lines[0].get_ydata(), [r["distance"] for r in retention.history[:3]])
    sweep = kerasft.InterpolationSweep((0.0, 1.0), (0.5, 0.6), (0.9, 0.7), 0.8)
    (axes,) = sweep.plot(tmp_path / "sweep.svg").axes
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.5, 0.6], [0.9, 0.7]]
    assert (tmp_path / "sweep.svg").exists()
