"""Keras's EarlyStopping and ReduceLROnPlateau beside a schedule."""

import keras
import numpy as np
import pytest

from kerasft import BackupAndRestore, GradualUnfreezing, Phase

DATA = np.ones((4, 4), "float32"), np.zeros((4, 3), "float32")
# phase 0 improves until epoch 1; phase 1 begins with a dip in epoch 4 and is best in epoch 5
SCORES = [3.0, 1.0, 2.0, 2.0, 9.0, 5.0, 6.0, 6.0, 6.0]


class Scores(keras.callbacks.Callback):
    """Puts made-up scores into the logs, and keeps each epoch's weights, momenta and rate."""

    def __init__(self, scores=SCORES, dies_in=None):
        super().__init__()
        self.scores, self.dies_in, self.ends, self.begins, self.rates = scores, dies_in, {}, {}, []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.dies_in:
            raise KeyboardInterrupt
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.begins[self.epoch] = state(self.model)

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.scores[epoch]
        self.ends[epoch] = state(self.model)
        self.rates.append(float(self.model.optimizer.learning_rate))


def state(model):
    optimizer = model.optimizer
    averages = getattr(optimizer, "_model_variables_moving_average", [])
    slots = [*optimizer._momentums, *averages]
    return [v.numpy() for v in (*model.weights, *slots, optimizer._variable_steps)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class OwnStopping(keras.callbacks.EarlyStopping):
    """A user's subclass."""


def stopping(kind=keras.callbacks.EarlyStopping, **options):
    return kind(**{"monitor": "score", "mode": "min", "patience": 2, "restore_best_weights": True} | options)


def fitted(model, callbacks, epochs=9, phases=None, **options):
    model.compile(keras.optimizers.Adam(0.01, use_ema=options.pop("use_ema", False)), "mse", run_eagerly=True)
    unfreezing = GradualUnfreezing(phases or [Phase("top", 20 if epochs > 20 else 8), Phase(0)], **options)
    callbacks = [unfreezing if c == "unfreezing" else c for c in callbacks]
    history = model.fit(*DATA, epochs=epochs, verbose=0, callbacks=callbacks)
    return unfreezing, history.history["freeze_depth"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("use_ema", [True, False])
def test_early_stopping_ends_the_phase_and_the_fit_in_the_last_one(dense_model, first, use_ema):
    scores, early = Scores(), stopping(OwnStopping)
    callbacks = [scores, early, "unfreezing"] if first else [scores, "unfreezing", early]
    unfreezing, depths = fitted(dense_model, callbacks, use_ema=use_ema)
    # two epochs without a better one after epoch 1, and after epoch 5, the second of phase 1
    assert depths == [2, 2, 2, 2, 0, 0, 0, 0] and early.stopped_epoch == 7
    assert same(scores.begins[4], scores.ends[1])  # weights, momenta, averages and step counts
    final, best = state(dense_model), scores.ends[5]
    assert same(final[6:], best[6:])
    averages = getattr(dense_model.optimizer, "_model_variables_moving_average", [])
    assert same(final[:6], [a.numpy() for a in averages] if use_ema else best[:6])
    assert [report.best_epoch for report in unfreezing.report] == [1, 5]


def test_without_restoring_weights_stay_and_other_callbacks_end_the_fit(dense_model, caplog):
    scores, early = Scores(), stopping(restore_best_weights=False)

    class Ends(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                self.model.stop_training = True

    _, depths = fitted(dense_model, [scores, "unfreezing", Ends(), early])
    assert depths == [2, 2, 2, 2]  # both stop in epoch 3: the fit ends
    assert "phase 1 (0) never began: a callback has set stop_training" in caplog.text
    assert same(state(dense_model), scores.ends[3])
    caplog.clear()
    scores = Scores()
    _, depths = fitted(dense_model, [scores, "unfreezing", early])
    assert depths == [2, 2, 2, 2, 0, 0, 0, 0] and same(scores.begins[4], scores.ends[3])
    assert "never began" not in caplog.text


def test_switched_off_early_stopping_ends_the_fit_as_in_keras(dense_model, caplog):
    early = stopping(restore_best_weights=False)
    _, depths = fitted(dense_model, [Scores(), "unfreezing", early], restart_callbacks=False)
    assert depths == [2, 2, 2, 2] and early.stopped_epoch == 3 and early.best == 1.0
    assert "phase 1 (0) never began" in caplog.text


def test_a_phase_goes_back_to_its_own_best_epoch_before_that_of_early_stopping(dense_model):
    class Other(Scores):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            logs["other"] = [5.0, 4.0, 1.0, 2.0][epoch]

    scores = Other()
    phases = [Phase("top", 3, monitor="other", mode="min"), Phase(0)]
    unfreezing, _ = fitted(dense_model, [scores, "unfreezing", stopping()], 4, phases)
    assert same(scores.begins[3], scores.ends[2]) and not same(scores.begins[3], scores.ends[1])
    assert unfreezing.report[0].best_epoch == 2


def test_a_dip_at_a_thaw_does_not_lower_the_rate(dense_model):
    scores = Scores([3.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    plateau = keras.callbacks.ReduceLROnPlateau("score", 0.5, patience=2, mode="min")
    phases = [Phase("top", 2), Phase("second", 3), Phase(0, learning_rate=0.25)]
    fitted(dense_model, [scores, "unfreezing", plateau], 7, phases)
    # epoch 2 is the first of its phase; 3 and 4 are no better, so that the rate is halved after epoch 4 ...
    assert scores.rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.01, 0.25, 0.25])
    assert plateau.wait == 1  # ... and phase 2 has a rate of its own
    left_alone = Scores([3.0, 2.0, 9.0, 9.0, 9.0])
    plateau = keras.callbacks.ReduceLROnPlateau("score", 0.5, patience=2, mode="min")
    fitted(dense_model, [left_alone, "unfreezing", plateau], 5, phases[:2], restart_callbacks=False)
    assert left_alone.rates[-1] == pytest.approx(0.005)


def test_a_killed_run_waits_on_where_it_was(dense_model, tmp_path):
    start = dense_model.get_weights()

    def run(folder, dies_in=None):
        keras.utils.set_random_seed(0)
        dense_model.set_weights(start)
        plateau = keras.callbacks.ReduceLROnPlateau("score", 0.5, patience=2, mode="min")
        backup, scores = BackupAndRestore(tmp_path / folder, delete_checkpoint=False), Scores(dies_in=dies_in)
        # the backup stands before those that count, and saves what they have counted all the same
        return fitted(dense_model, [scores, "unfreezing", backup, stopping(), plateau])[1]

    whole = run("whole")
    expected = state(dense_model)
    assert whole == [2, 2, 2, 2, 0, 0, 0, 0]
    for dies_in in (3, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            run(str(dies_in), dies_in)
        assert [*whole[:dies_in], *run(str(dies_in))] == whole
        assert same(state(dense_model), expected)
        assert float(dense_model.optimizer.learning_rate) == pytest.approx(0.0025)  # halved twice
    with pytest.raises(KeyError, match="freeze_depth"):
        run("whole")  # the fit was over: no epoch is trained
    assert same(state(dense_model), expected)


def test_other_callbacks_than_those_saved_begin_anew(dense_model, tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        backup = BackupAndRestore(tmp_path)
        fitted(dense_model, [Scores(dies_in=3), "unfreezing", backup, stopping()])
    early = stopping(monitor="loss")
    fitted(dense_model, [Scores(), "unfreezing", BackupAndRestore(tmp_path), early])
    assert "EarlyStopping (callbacks[3]) begin to count with this epoch" in caplog.text


def test_the_callbacks_of_the_fit_are_its_own_again_afterwards(dense_model):
    scores, early = Scores(), stopping()
    dense_model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    unfreezing = GradualUnfreezing([Phase("top", 1), Phase(0)])
    given = [scores, unfreezing, early]
    listed = keras.callbacks.CallbackList(given, add_history=True, model=dense_model, epochs=2)
    dense_model.fit(*DATA, epochs=2, verbose=0, callbacks=listed)
    assert listed.callbacks[:3] == given and len(listed.callbacks) == 4
    with pytest.raises(TypeError, match="restart_callbacks is True or False, not 'fit'"):
        GradualUnfreezing([Phase(0)], restart_callbacks="fit")
