"""The best epoch of all phases."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import BackupAndRestore, GradualUnfreezing, Phase


class Scores(keras.callbacks.Callback):
    """Puts made-up scores into the logs, and keeps each epoch's weights and slots."""

    def __init__(self, scores, dies_in=None):
        super().__init__()
        self.scores, self.dies_in, self.ends = scores, dies_in, {}

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.dies_in:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = self.scores[epoch]
        self.ends[epoch] = self.state()

    def state(self):
        optimizer = self.model.optimizer
        kept = [*self.model.weights, *optimizer._momentums, *optimizer._velocities, optimizer._variable_steps]
        return [v.numpy() for v in kept]


@pytest.mark.parametrize(("scores", "best"), [([3, 1, 2, 5, 4], 1), ([3, 2, 5, 1, 4], 3)])
def test_the_fit_goes_back_to_the_best_epoch_of_all_phases(dense_model, tmp_path, caplog, scores, best):
    start, data = dense_model.get_weights(), (np.ones((4, 4), "float32"), np.zeros((4, 3), "float32"))
    caplog.set_level("INFO", "kerasft")

    def run(dies_in=None):
        keras.utils.set_random_seed(0)
        dense_model.set_weights(start)
        dense_model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
        watch = Scores(scores, dies_in)
        callback = GradualUnfreezing(
            [Phase("top", 2), Phase("second", 1), Phase(0)], restore_best="all", monitor="score", mode="min"
        )
        callbacks = [watch, callback, BackupAndRestore(tmp_path)]
        dense_model.fit(*data, epochs=5, verbose=0, callbacks=callbacks)
        return watch

    watch = run()
    for a, b in zip(watch.state(), watch.ends[best], strict=True):
        np.testing.assert_array_equal(a, b)
    assert f"Back to epoch {best}, the best of all phases: score was 1." in caplog.text
    assert not np.array_equal(watch.ends[best][-3], watch.ends[4][-3])
    assert kerasft.freeze_depth(dense_model) == 0
    expected = watch.state()
    with pytest.raises(KeyboardInterrupt):
        run(dies_in=4)
    for a, b in zip(run().state(), expected, strict=True):  # after the kill, of epoch 4 alone
        np.testing.assert_array_equal(a, b)


def test_what_tells_the_best_of_all_phases_has_to_be_known():
    phases = [Phase(1, 1, monitor="val_loss"), Phase(0)]
    GradualUnfreezing(phases, restore_best="all")
    for schedule in ([Phase(1, 1), Phase(0)], [*phases[:1], Phase(0, monitor="loss")], None):
        with pytest.raises(ValueError, match='for instance monitor="val_loss"; the phases watch'):
            GradualUnfreezing(schedule, restore_best="all")
    with pytest.raises(ValueError, match='restore_best is "phase" or "all", not True'):
        GradualUnfreezing(phases, restore_best=True)
    with pytest.raises(ValueError, match='say restore_best="all" with them'):
        GradualUnfreezing(phases, monitor="loss")
