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


class Traces(keras.Model):
    """Counts how often its training step is traced."""

    traced = 0

    def train_step(self, data):
        type(self).traced += 1
        return super().train_step(data)


def test_a_phase_change_costs_one_trace_and_none_if_the_depth_stays(dense_model):
    class Model(Traces):
        pass

    model = Model(dense_model.inputs, dense_model.outputs)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    phases = [
        Phase("top", 2),
        Phase("second", 1),
        Phase("second", 2, learning_rate=0.1, multipliers={"top": 0.5}, warmup_steps=3),
        Phase("second", 1, multipliers={"top": 0.25}),
        Phase("top", 1),
        Phase(0),
    ]
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    callback = GradualUnfreezing(phases)
    model.fit(x, y, epochs=8, batch_size=4, verbose=0, callbacks=[callback])
    assert Model.traced == 4  # top, second, top, all
    assert [len(callback.report), callback.report[-1].depth] == [6, 0]


def test_factors_that_change_without_a_trace_hold_from_the_next_step_on(dense_model):
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.1), "mse")
    seen = []

    class Moves(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.before = dense_model.get_layer("top").bias.numpy()

        def on_train_batch_end(self, batch, logs=None):
            seen.append(dense_model.get_layer("top").bias.numpy() - self.before)

    phases = [
        Phase("top", 1, multipliers={"top": 1.0}),
        Phase("top", 1, multipliers={"top": 0.01}),
        Phase("top", 1, multipliers={"top": 0.0}),
    ]
    dense_model.fit(x, y, epochs=3, verbose=0, callbacks=[GradualUnfreezing(phases), Moves()])
    # the gradient changes little in one step, so the second move is near a hundredth of the first
    np.testing.assert_allclose(seen[1], seen[0] / 100, rtol=0.2)
    assert np.all(seen[0] != 0) and np.array_equal(seen[2], np.zeros(3))


class Scores(keras.callbacks.Callback):
    """Puts made-up scores into the logs, and keeps the weights and slots of each epoch's end."""

    def __init__(self, scores):
        super().__init__()
        self.scores, self.states = scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.scores[epoch]
        optimizer = self.model.optimizer
        self.states.append(
            [v.numpy() for v in self.model.weights]
            + [v.numpy() for v in (*optimizer._momentums, *optimizer._model_variables_moving_average)]
            + [optimizer._variable_steps.numpy()]
        )


def test_a_phase_goes_back_to_its_best_epoch_with_slots_steps_and_averages(image_model, image_data):
    compiled(image_model, keras.optimizers.Adam(0.01, use_ema=True))
    scores = Scores([1.0, 0.5, 0.7, 0.8, 0.4, 0.5, 0.5])
    seen = []

    class AtBegin(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append([v.numpy() for v in image_model.weights])

    phases = [
        Phase("block_2", patience=2, monitor="score", mode="min"),  # epochs 0 to 3, best 1
        Phase("head", 1),  # epoch 4, nobody watches
        Phase(0, monitor="score", mode="min", restore_best=True),  # epochs 5 and 6, a tie: best 5
    ]
    callback = GradualUnfreezing(phases)
    image_model.fit(*image_data, epochs=7, batch_size=8, verbose=0, callbacks=[scores, callback, AtBegin()])
    count = len(image_model.weights)
    for a, b in zip(seen[4], scores.states[1][:count]):  # the weights with which epoch 4 begins
        np.testing.assert_array_equal(a, b)
    assert [report.best_epoch for report in callback.report] == [1, None, 5]
    # at the end: slots, steps and averages of epoch 5, and the averages in the weights' places
    optimizer = image_model.optimizer
    final = [v.numpy() for v in (*optimizer._momentums, *optimizer._model_variables_moving_average)]
    for a, b in zip([*final, optimizer._variable_steps.numpy()], scores.states[5][count:], strict=True):
        np.testing.assert_array_equal(a, b)
    for variable, average in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average):
        np.testing.assert_array_equal(variable, average)


def test_patience_of_the_last_phase_ends_training(dense_model):
    dense_model.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse")
    scores = Scores([1.0, 0.5, 0.6, 0.7, 0.1, 0.1])
    phases = [Phase("top", 1), Phase(0, patience=2, monitor="score", mode="min", restore_best=False)]
    data = np.ones((8, 4)), np.zeros((8, 3))
    callbacks = [scores, GradualUnfreezing(phases)]
    history = dense_model.fit(*data, epochs=6, verbose=0, callbacks=callbacks)
    assert history.history["freeze_depth"] == [2, 0, 0, 0]  # epochs 2 and 3 bring nothing


def test_depths_may_grow_again(image_model, image_data):
    compiled(image_model)
    recorder = Recorder()
    phases = [Phase(0, 1), Phase("head", 1), Phase("block_2", 1), Phase("head")]
    image_model.fit(
        *image_data, epochs=4, batch_size=8, verbose=0, callbacks=[GradualUnfreezing(phases), recorder]
    )
    assert "stem_conv" in recorder.moved(0)
    assert recorder.moved(1) == recorder.moved(3) == {"logits"}
    assert recorder.moved(2) == {"logits", "block_2_a_conv", "block_2_a_bn", "block_2_b_conv"}


@pytest.mark.parametrize("policy", ["inference", "statistics", "train", "frozen"])
def test_a_policy_is_applied_again_in_every_phase(image_model, image_data, policy):
    compiled(image_model)
    norm = image_model.get_layer("backbone").get_layer("block_2_a_bn")
    start = {name: getattr(norm, name).numpy() for name in ("gamma", "moving_mean")}
    moved = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            moved.append(
                [name for name, value in start.items() if not np.array_equal(value, getattr(norm, name))]
            )
            start.update({name: getattr(norm, name).numpy() for name in start})

    phases = [Phase("head", 1), Phase("block_2", 1), Phase("head", 1), Phase(0)]
    callbacks = [GradualUnfreezing(phases, batch_norm=policy), Watch()]
    image_model.fit(*image_data, epochs=4, batch_size=8, verbose=0, callbacks=callbacks)
    expected = {
        "inference": ["gamma"],
        "statistics": ["moving_mean"],
        "train": ["gamma", "moving_mean"],
        "frozen": [],
    }[policy]
    assert moved == [[], expected, [], expected]


def test_someone_else_who_changes_flags_is_noticed(image_model, image_data):
    compiled(image_model)

    class Meddler(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            image_model.get_layer("backbone").get_layer("stem_conv").trainable = True

    with pytest.raises(RuntimeError, match="before epoch 1.*stem_conv"):
        image_model.fit(
            *image_data, epochs=2, verbose=0, callbacks=[GradualUnfreezing([Phase("head")]), Meddler()]
        )


def test_someone_else_who_moves_a_frozen_weight_is_noticed(image_model, image_data):
    compiled(image_model)
    kernel = image_model.get_layer("backbone").get_layer("stem_conv").kernel

    class Meddler(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel.assign(kernel * 1.001)

    callbacks = [GradualUnfreezing([Phase("head")]), Meddler()]
    with pytest.raises(RuntimeError, match="in epoch 0.*stem_conv/kernel"):
        image_model.fit(*image_data, verbose=0, callbacks=callbacks)
    unchecked = [GradualUnfreezing([Phase("head")], verify=False), Meddler()]
    image_model.fit(*image_data, verbose=0, callbacks=unchecked)


def test_monitors_that_are_not_logged_are_named_after_the_first_epoch(image_model, image_data):
    compiled(image_model)
    phases = [Phase("head", 1), Phase(0, patience=1, monitor="val_loss")]
    with pytest.raises(ValueError, match=r"val_loss.*\['accuracy', 'loss'\].*validation_data"):
        image_model.fit(*image_data, epochs=3, verbose=0, callbacks=[GradualUnfreezing(phases)])


def test_the_list_of_callbacks_is_checked(image_model, image_data, tmp_path):
    compiled(image_model)
    one, other = GradualUnfreezing([Phase(0)]), GradualUnfreezing([Phase("head")])
    before = [w.numpy() for w in image_model.weights]
    with pytest.raises(ValueError, match="two GradualUnfreezing"):
        image_model.fit(*image_data, verbose=0, callbacks=[one, other])
    for backup in (
        keras.callbacks.BackupAndRestore(tmp_path / "a"),
        kerasft.BackupAndRestore(tmp_path / "b"),
    ):
        with pytest.raises(ValueError, match="Put it after"):
            image_model.fit(*image_data, verbose=0, callbacks=[backup, one])
    assert all(np.array_equal(a, b) for a, b in zip(before, image_model.weights))
    assert list(tmp_path.iterdir()) == []


def test_an_initial_epoch_after_patience_needs_a_backup(image_model, image_data):
    compiled(image_model)
    callback = GradualUnfreezing([Phase("head", patience=1, monitor="loss"), Phase(0)])
    with pytest.raises(ValueError, match="patience"):
        image_model.fit(*image_data, epochs=9, initial_epoch=5, verbose=0, callbacks=[callback])


def test_a_saved_model_goes_on_where_its_schedule_stood(image_model, image_data, tmp_path):
    """A .keras file made by ModelCheckpoint knows its phase, patience included."""
    compiled(image_model)
    path = tmp_path / "model.keras"
    phases = [Phase(depth, patience=1, monitor="score", mode="min") for depth in ("head", 0)]

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = float(epoch)  # never better than at first

    callbacks = [Score(), GradualUnfreezing(phases), keras.callbacks.ModelCheckpoint(path)]
    image_model.fit(*image_data, epochs=3, verbose=0, callbacks=callbacks)
    loaded = keras.models.load_model(path)
    callbacks = [Score(), GradualUnfreezing(phases)]
    history = loaded.fit(*image_data, initial_epoch=3, epochs=9, verbose=0, callbacks=callbacks)
    assert history.history["freeze_depth"] == [0]  # one epoch of the second phase before, one after


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


def test_what_a_cache_in_the_same_fit_asks_it(image_model, image_data):
    compiled(image_model)
    callback = GradualUnfreezing([Phase("head", 1), Phase("block_2", 1), Phase(0)], batch_norm="inference")
    assert callback.stages is None and callback.acts_at_window_boundaries
    coming = []

    class Asks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            coming.append(callback.coming_depths)

    image_model.fit(*image_data, epochs=3, batch_size=8, verbose=0, callbacks=[callback, Asks()])
    assert coming == [[3, 2, 0], [2, 0], [0]]
    assert callback.stages.model is image_model and callback.batch_norm == "inference"


def test_without_a_schedule_one_stage_thaws_at_a_time_over_the_epochs_of_the_fit(dense_model):
    data = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.25), "mse", run_eagerly=True)
    callback = GradualUnfreezing()
    assert callback.schedule is None
    for epochs, depths in ((6, [2, 2, 1, 1, 0, 0]), (3, [2, 1, 0]), (2, [2, 0]), (1, [0])):
        history = dense_model.fit(*data, epochs=epochs, verbose=0, callbacks=[callback]).history
        assert history["freeze_depth"] == depths
        assert history["learning_rate"] == [0.25] * epochs


class Gain(keras.metrics.Mean):
    """A metric of the user's, which says that it points up."""

    def __init__(self):
        super().__init__(name="mse_gain")  # whatever its name says
        self._direction = "up"

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(-keras.ops.mean((y_true - y_pred) ** 2))


def test_the_models_metric_tells_what_is_better_before_its_name_does(dense_model):
    data = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")
    dense_model.compile(keras.optimizers.SGD(0.01), "mse", metrics=[Gain()], run_eagerly=True)
    phases = [Phase("top", 1), Phase(0, patience=1, monitor="mse_gain")]
    history = dense_model.fit(*data, epochs=4, verbose=0, callbacks=[GradualUnfreezing(phases)]).history
    assert history["mse_gain"] == sorted(history["mse_gain"]) and len(history["loss"]) == 4

    class Reward(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["reward"] = float(epoch)

    phases = [Phase("top", 1), Phase(0, patience=1, monitor="reward")]
    with pytest.raises(ValueError, match=r"\['reward'\].*mode=\"max\" or mode=\"min\" beside"):
        dense_model.fit(*data, epochs=4, verbose=0, callbacks=[Reward(), GradualUnfreezing(phases)])
