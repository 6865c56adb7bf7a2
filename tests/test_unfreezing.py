"""GradualUnfreezing inside one fit."""

import csv

import keras
import numpy as np
import pytest

import kerasft
from kerasft import GradualUnfreezing, Phase, UnfreezingSchedule


class Recorder(keras.callbacks.Callback):
    """Copies of all weights at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.weights = [[w.numpy().copy() for w in self.model.weights]]

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([w.numpy().copy() for w in self.model.weights])

    def moved(self, epoch):
        return {
            w.path.split("/")[-2]
            for w, a, b in zip(self.model.weights, self.weights[epoch], self.weights[epoch + 1])
            if not np.array_equal(a, b)
        }


def compiled(model, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def test_each_phase_trains_its_stages_and_no_others(image_model, image_data, tmp_path):
    compiled(image_model)
    recorder = Recorder()
    schedule = UnfreezingSchedule([Phase("head", 1), Phase("block_2", 2), Phase(0)])
    history = image_model.fit(
        *image_data,
        epochs=4,
        batch_size=8,
        verbose=0,
        callbacks=[GradualUnfreezing(schedule), recorder, keras.callbacks.CSVLogger(tmp_path / "log.csv")],
    )
    block_2 = {"block_2_a_conv", "block_2_a_bn", "block_2_b_conv"}
    assert recorder.moved(0) == {"logits"}
    assert recorder.moved(1) == recorder.moved(2) == {"logits"} | block_2
    assert recorder.moved(3) == {w.path.split("/")[-2] for w in image_model.weights}
    assert history.history["freeze_depth"] == [3, 2, 2, 0]
    assert history.history["trainable_params"][0] == 4 * 3 + 3
    assert int(image_model.optimizer.iterations) == 12
    with open(tmp_path / "log.csv") as file:
        assert [int(row["freeze_depth"]) for row in csv.DictReader(file)] == [3, 2, 2, 0]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(0.01),
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    ],
)
def test_against_the_loop_written_out_by_hand(dense_model, optimizer):
    """Two phases in one fit equal two optimizers' worth of steps taken by hand."""
    import tensorflow as tf

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 4)).astype("float32"), rng.normal(size=(12, 3)).astype("float32")
    other = keras.models.clone_model(dense_model)
    other.set_weights(dense_model.get_weights())
    dense_model.compile(optimizer(), "mse")
    schedule = [Phase("top", 2), Phase(0)]
    dense_model.fit(
        x, y, epochs=4, batch_size=4, shuffle=False, verbose=0, callbacks=[GradualUnfreezing(schedule)]
    )
    head, body = optimizer(), optimizer()
    head.build(other.get_layer("top").trainable_variables)
    late = other.get_layer("first").trainable_variables + other.get_layer("second").trainable_variables
    body.build(late)
    for epoch in range(4):
        for begin in (0, 4, 8):
            with tf.GradientTape() as tape:
                error = other(x[begin : begin + 4], training=True) - y[begin : begin + 4]
                loss = tf.reduce_mean(error**2)
            early = other.get_layer("top").trainable_variables
            gradients = tape.gradient(loss, early + late)
            head.apply(gradients[:2], early)
            if epoch >= 2:
                body.apply(gradients[2:], late)
    for a, b in zip(dense_model.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_one_callback_serves_two_fits_and_the_optimizer_goes_on(image_model, image_data):
    compiled(image_model)
    callback = GradualUnfreezing([Phase("head", 1), Phase(0)])
    for _ in range(2):
        history = image_model.fit(*image_data, epochs=2, batch_size=8, verbose=0, callbacks=[callback])
        assert history.history["freeze_depth"] == [3, 0]
    assert int(image_model.optimizer.iterations) == 12


def test_initial_epoch_begins_in_the_phase_it_belongs_to(image_model, image_data):
    compiled(image_model)
    callback = GradualUnfreezing([Phase("head", 2), Phase(1)])
    history = image_model.fit(
        *image_data, epochs=4, initial_epoch=2, batch_size=8, verbose=0, callbacks=[callback]
    )
    assert history.history["freeze_depth"] == [1, 1]


def test_learning_rate_and_multipliers_of_a_phase(image_model, image_data):
    compiled(image_model)
    recorder = Recorder()
    phases = [Phase("head", 1), Phase(0, 1, learning_rate=0.5, multipliers={"stem": 0.0, "block_*": 0.1})]
    image_model.fit(*image_data, epochs=2, verbose=0, callbacks=[GradualUnfreezing(phases), recorder])
    assert float(image_model.optimizer.learning_rate) == 0.5
    factors = image_model.optimizer.lr_multipliers
    assert {f for p, f in factors.items() if "block_" in p} == {0.1}
    changed = recorder.moved(1)
    assert "stem_conv" not in changed and "block_1_a_conv" in changed


def test_inference_policy_holds_in_every_phase(image_model, image_data):
    compiled(image_model)
    backbone = image_model.get_layer("backbone")
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [n.moving_mean.numpy().copy() for n in norms]
    scales = [n.gamma.numpy().copy() for n in norms]
    callback = GradualUnfreezing([Phase("head", 1), Phase(0)], batch_norm="inference")
    image_model.fit(*image_data, epochs=2, verbose=0, callbacks=[callback])
    assert all(np.array_equal(a, n.moving_mean) for a, n in zip(before, norms))
    assert not any(np.array_equal(a, n.gamma) for a, n in zip(scales, norms))


def test_mixed_precision_and_accumulation(image_data, make_backbone):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.GlobalAveragePooling2D()(make_backbone()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy("float32")
    compiled(model, keras.optimizers.Adam(0.01, gradient_accumulation_steps=3))
    recorder = Recorder()
    x = image_data[0] / 255
    model.fit(
        x, image_data[1], epochs=2, batch_size=8, verbose=0,
        callbacks=[GradualUnfreezing([Phase("head", 1), Phase(0)]), recorder],
    )  # fmt: skip
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert recorder.moved(0) == {"dense"} or len(recorder.moved(0)) == 1
    assert "stem_conv" in recorder.moved(1)


@pytest.mark.parametrize(
    ("phases", "epochs", "message"),
    [
        ([Phase("nose")], 1, "nose"),
        ([Phase(9)], 1, "out of range"),
        ([Phase("head", 3), Phase(0)], 3, "no epoch reaches"),
    ],
)
def test_a_schedule_that_does_not_fit_stops_before_training(image_model, image_data, phases, epochs, message):
    compiled(image_model)
    before = [w.numpy().copy() for w in image_model.weights]
    with pytest.raises(ValueError, match=message):
        image_model.fit(*image_data, epochs=epochs, verbose=0, callbacks=[GradualUnfreezing(phases)])
    assert all(np.array_equal(a, b) for a, b in zip(before, image_model.weights))


def test_bad_arguments(image_model, image_data, dense_model):
    with pytest.raises(ValueError, match="batch_norm"):
        GradualUnfreezing([Phase(0)], batch_norm="no")
    with pytest.raises(ValueError, match="at least one"):
        GradualUnfreezing([])
    compiled(image_model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    with pytest.raises(ValueError, match="LearningRateSchedule"):
        image_model.fit(*image_data, verbose=0, callbacks=[GradualUnfreezing([Phase(0, learning_rate=0.1)])])
    stages = kerasft.find_stages(dense_model)
    with pytest.raises(ValueError, match="'net'.*'classifier'"):
        image_model.fit(*image_data, verbose=0, callbacks=[GradualUnfreezing([Phase(0)], stages=stages)])
