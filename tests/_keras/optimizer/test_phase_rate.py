"""Schedules of the learning rate that begin with a phase."""

import keras
import numpy as np
import pytest

from kerasft import BackupAndRestore, GradualUnfreezing, Phase, UnfreezingSchedule

schedules = keras.optimizers.schedules
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(8, 4)).astype("float32"), RNG.normal(size=(8, 3)).astype("float32")


def cosine():
    return schedules.CosineDecay(0.01, 8, warmup_target=0.2, warmup_steps=3)  # one cycle


def exponential():
    return schedules.ExponentialDecay(0.3, 2, 0.5)


@pytest.mark.parametrize("window", [None, 2])
def test_each_phase_follows_its_schedule_as_a_fit_of_plain_keras_does(dense_model, window):
    """Eight samples in batches of two: four steps an epoch, which Keras's schedules count one by one."""
    plain = keras.models.clone_model(dense_model)
    plain.set_weights(dense_model.get_weights())
    rates = [("top", 2, cosine()), ("top", 1, exponential()), ("top", 1, exponential()), (0, 2, 0.05)]
    rates.append((0, 1, cosine()))
    logged = []
    for depth, epochs, rate in rates:
        for layer in plain.layers[:-1]:
            layer.trainable = depth == 0
        plain.compile(keras.optimizers.SGD(rate, gradient_accumulation_steps=window), "mse")
        for _ in range(epochs):
            plain.fit(*DATA, batch_size=2, shuffle=False, verbose=0)
            logged.append(float(plain.optimizer.learning_rate))
    dense_model.compile(keras.optimizers.SGD(7.0, gradient_accumulation_steps=window), "mse")
    callback = GradualUnfreezing([Phase(depth, epochs, learning_rate=rate) for depth, epochs, rate in rates])
    fit = {"batch_size": 2, "shuffle": False, "verbose": 0}
    history = dense_model.fit(*DATA, epochs=7, callbacks=[callback], **fit).history
    for a, b in zip(dense_model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
    np.testing.assert_allclose(history["learning_rate"], logged, rtol=1e-6)
    assert callback.report[0].stages[2].learning_rate == pytest.approx(logged[1])
    # afterwards the rate is a number again, the one that the last schedule had reached
    assert float(dense_model.optimizer.learning_rate) == pytest.approx(logged[-1])
    dense_model.optimizer.learning_rate = 0.0
    before = dense_model.get_weights()
    dense_model.fit(*DATA, **fit)
    assert all(np.array_equal(a, b) for a, b in zip(before, dense_model.weights))


def test_multipliers_and_warm_up_apply_on_top(dense_model):
    dense_model.compile(keras.optimizers.SGD(7.0), "mse", run_eagerly=True)
    moves = []

    class Moves(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.before = dense_model.get_layer("top").bias.numpy()

        def on_train_batch_end(self, batch, logs=None):
            gradient = 2 * (self.before - 1).mean() / 3  # of the mean over three outputs, inputs being zero
            moves.append((dense_model.get_layer("top").bias.numpy() - self.before)[0] / -gradient)

    data = np.zeros((2, 4), "float32"), np.ones((2, 3), "float32")
    decay = schedules.InverseTimeDecay(0.1, 1, 1.0)  # 0.1 / (1 + step)
    phases = [Phase("top", learning_rate=decay, multipliers={"top": 0.5}, warmup_steps=4)]
    dense_model.fit(*data, epochs=5, verbose=0, callbacks=[GradualUnfreezing(phases), Moves()])
    warmed = [0.1 / (1 + step) * min((step + 1) / 4, 1) * 0.5 for step in range(5)]
    np.testing.assert_allclose(moves, warmed, rtol=1e-4)


def test_a_killed_run_follows_its_schedule_on(dense_model, tmp_path):
    start = dense_model.get_weights()

    class Dies(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def run(folder, *others):
        dense_model.set_weights(start)
        dense_model.compile(keras.optimizers.Adam(7.0), "mse", run_eagerly=True)
        phases = [Phase("top", 2, learning_rate=exponential()), Phase(0, learning_rate=cosine())]
        backup = BackupAndRestore(tmp_path / folder)
        callbacks = [GradualUnfreezing(phases), backup, *others]
        dense_model.fit(*DATA, epochs=5, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks)
        return dense_model.get_weights()

    whole = run("a")
    with pytest.raises(KeyboardInterrupt):
        run("b", Dies())
    assert all(np.array_equal(a, b) for a, b in zip(run("b"), whole))


def test_nobody_else_sets_the_rate_of_such_a_phase(dense_model):
    dense_model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    phases = [Phase("top", 1), Phase(0, learning_rate=cosine())]

    class Sets(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.5

    with pytest.raises(TypeError, match="takes its learning rate from a CosineDecay"):
        dense_model.fit(*DATA, epochs=2, verbose=0, callbacks=[GradualUnfreezing(phases), Sets()])
    before = dense_model.get_weights()
    plateau = keras.callbacks.ReduceLROnPlateau("loss")
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau \(callbacks\[1\]\) would set.*phases \[1\]"):
        dense_model.fit(*DATA, epochs=2, verbose=0, callbacks=[GradualUnfreezing(phases), plateau])
    assert all(np.array_equal(a, b) for a, b in zip(before, dense_model.weights))


def test_such_a_schedule_in_json():
    schedule = UnfreezingSchedule([Phase(1, 2, learning_rate=cosine()), Phase(0, learning_rate=0.1)])
    back = UnfreezingSchedule.from_json(schedule.to_json())
    assert back == schedule and hash(back.phases[0]) == hash(schedule.phases[0])
    assert back != UnfreezingSchedule([Phase(1, 2, learning_rate=exponential()), Phase(0, learning_rate=0.1)])
    assert [float(back.phases[0].learning_rate(step)) for step in (0, 3)] == pytest.approx([0.01, 0.2])
    assert "CosineDecay" in str(schedule)
    with pytest.raises(ValueError, match="Phase 0: Its learning_rate is neither a number nor"):
        UnfreezingSchedule.from_json('{"phases": [{"depth": 0, "learning_rate": {"class_name": "Cosinus"}}]}')
    with pytest.raises(TypeError, match="learning_rate"):
        Phase(0, learning_rate=lambda: 0.1)
