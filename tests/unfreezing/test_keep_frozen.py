"""GradualUnfreezing on models of which the user has frozen a part."""

import logging

import frozen_parts
import keras
import numpy as np
import pytest

import kerasft
from kerasft import BackupAndRestore, GradualUnfreezing, Phase, PrefixCache

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
TOKENS = np.arange(24 * 3).reshape(24, 3) % 9
TARGETS = X[:, :2] * 3


def fit(model, callback, epochs=2, **options):
    if not model.compiled:
        model.compile(keras.optimizers.Adam(0.05), "mse")
    x = TOKENS if model.inputs[0].dtype == "int32" else X
    callbacks = [callback, *options.pop("callbacks", [])]
    return model.fit(
        x, TARGETS, epochs=epochs, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks, **options
    )


def moved(model, before):
    return {v.path for v, old in zip(model.weights, before, strict=True) if not np.array_equal(v, old)}


@pytest.mark.parametrize(
    "build", [frozen_parts.lora_dense, frozen_parts.positions_beside_tokens, frozen_parts.teacher]
)
def test_several_fits_train_what_plain_keras_would(build):
    model = build()
    trained = {v.path for v in model.trainable_variables}
    for _ in range(2):
        before = [w.numpy() for w in model.weights]
        fit(model, GradualUnfreezing([Phase("top", 1), Phase(0)]))
        assert moved(model, before) == trained == {v.path for v in model.trainable_variables}
    slots = [v for v in model.optimizer.variables if v.path.endswith("_velocity")]
    assert len(slots) == len(trained)


def test_the_log_says_what_is_thawed_and_what_is_kept(image_model, image_data, caplog):
    """A frozen backbone is a freeze depth; a normalization in the head's stage, say, is not."""
    image_model.get_layer("backbone").trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    image_model.compile("sgd", loss)
    with caplog.at_level(logging.INFO, "kerasft"):
        image_model.fit(
            *image_data,
            epochs=2,
            verbose=0,
            callbacks=[GradualUnfreezing([Phase("head", 1), Phase(1)], keep_frozen=["*_bn"])],
        )
    (thaw,) = (line for line in caplog.messages if "you had frozen" in line)
    assert "Freeze depth 1 thaws 4 layers" in thaw and "keep_frozen" in thaw  # two convolutions a block
    (kept,) = (line for line in caplog.messages if "Kept frozen" in line)
    assert "stem_bn, block_1_a_bn, block_2_a_bn." in kept
    names = {v.path.split("/")[-2] for v in image_model.trainable_variables}
    assert names == {"block_1_a_conv", "block_1_b_conv", "block_2_a_conv", "block_2_b_conv", "logits"}


def test_everything_and_a_phase_that_would_train_nothing(dense_model):
    dense_model.get_layer("second").trainable = False
    with pytest.raises(ValueError, match=r"In the phases \[0\] of the schedule, from 0, nothing trains"):
        fit_dense(dense_model, GradualUnfreezing([Phase("top", 1), Phase(0)], keep_frozen=["top"]))
    with pytest.raises(TypeError, match="received 'top'"):
        GradualUnfreezing([Phase(0)], keep_frozen="top")
    fit_dense(dense_model, GradualUnfreezing([Phase("top", 1), Phase(0)]))
    assert len(dense_model.trainable_variables) == 4
    fit_dense(dense_model, GradualUnfreezing([Phase("top", 1), Phase(0)], everything=True))
    assert len(dense_model.trainable_variables) == 6


def fit_dense(model, callback):
    if not model.compiled:
        model.compile("sgd", "mse")
    model.fit(X, np.ones((24, 3)), epochs=2, verbose=0, callbacks=[callback])


class StopError(Exception):
    """What ends a run in this process, as a kill would."""


class StopAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise StopError


@pytest.mark.parametrize("kind", [BackupAndRestore, keras.callbacks.BackupAndRestore])
def test_a_run_that_was_killed_in_a_phase_ends_at_the_same_weights(kind, tmp_path):
    """The program that is started again builds the model and freezes its parts as before."""

    def run(*extra, named=("middle",)):
        keras.utils.set_random_seed(3)
        model = frozen_parts.lora_dense()
        callback = GradualUnfreezing([Phase("top", 1), Phase(0)], keep_frozen=named)
        backup = kind(tmp_path / "backup")
        fit(model, callback, epochs=4, callbacks=[backup, *extra])
        return model

    whole = run()
    with pytest.raises(StopError):
        run(StopAt(2))
    with pytest.raises(ValueError, match="another kept frozen: it was"):
        run(named=())
    again = run()
    assert all(np.array_equal(a, b) for a, b in zip(whole.weights, again.weights, strict=True))
    assert len(again.trainable_variables) == 3 + 3


def test_a_cached_fit_with_a_frozen_second_tower_is_the_plain_one():
    def run(*extra):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4,))
        student = keras.layers.Dense(4, name="student", activation="tanh")(inputs)
        teacher = keras.layers.Dense(4, name="teacher", trainable=False)(inputs)
        x = keras.layers.Dense(4, name="joined")(keras.layers.Concatenate()([student, teacher]))
        x = keras.layers.Dense(4, name="fixed", trainable=False)(x)
        model = keras.Model(inputs, keras.layers.Dense(2, name="top")(x), name="net")
        fit(model, GradualUnfreezing([Phase("top", 2), Phase(0)]), epochs=4, callbacks=extra)
        return model

    plain, cached = run(), run(PrefixCache())
    for a, b in zip(plain.weights, cached.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(cached.trainable_variables) == 6
    assert np.array_equal(plain.get_layer("fixed").kernel, cached.get_layer("fixed").kernel)


def test_stages_that_are_given_follow_the_same_rule():
    model = frozen_parts.nested_in_a_layer()
    stages = kerasft.find_stages(model, at=["block_0", "block_1", "top"])
    trained = {v.path for v in model.trainable_variables}
    fit(model, GradualUnfreezing([Phase("top", 1), Phase(0)], stages=stages))
    assert {v.path for v in model.trainable_variables} == trained
    assert {s.name for s in stages if "kept frozen" in str(stages).split(s.name)[1].split("\n")[0]} == {
        "block_0"
    }
