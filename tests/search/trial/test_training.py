"""One trial: it goes on where another has ended, and its score is what the objective asks for."""

import json
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from small_searches import BATCH, FIXED, build_model, data, grid, searched

import kerasft
from kerasft import FreezeDepthSearch


def test_a_trial_goes_on_at_a_higher_rung(tmp_path):
    """With weights, slots and phase: as the same trial in one go."""

    def build(hp):
        hp.Choice("number", list(range(20)))  # so that trials differ in something
        return build_model()

    search = FreezeDepthSearch(build, [1], ["head_then_all"], warm_start=False, **FIXED)
    tuner = keras_tuner.Hyperband(
        search, "val_loss", max_epochs=4, factor=2, directory=tmp_path, project_name="p", seed=1
    )
    searched(tuner)
    records = {r.trial: r for r in search.results()}
    resumed = [r for r in records.values() if r.resumed_from]
    assert resumed
    for record in resumed:
        before = records[record.resumed_from]
        assert record.curve[: before.epochs] == before.curve and record.epochs > before.epochs
        keras.utils.set_random_seed(search.seed)
        model = build_model()
        model.optimizer.learning_rate = 0.05
        schedule = kerasft.UnfreezingSchedule.from_json(json.dumps(record.schedule))
        history = model.fit(
            *data(), validation_data=data(24, 1), epochs=record.epochs, batch_size=BATCH, shuffle=False,
            verbose=0, callbacks=[kerasft.GradualUnfreezing(schedule)],
        )  # fmt: skip
        np.testing.assert_allclose(record.curve, history.history["val_loss"], atol=1e-5)
    assert not list(Path(tuner.project_dir).glob("trial_*/state.h5"))  # nothing can go on any more


def test_the_score_of_the_exported_file(tmp_path):
    objective = kerasft.ExportedAccuracy("float16", max_bytes=10**6)
    search = FreezeDepthSearch(build_model, [2], ["frozen_head", "head_then_all"], **FIXED)
    searched(grid(search, tmp_path, objective=objective))
    for record in search.results():
        assert (
            record.score
            == record.metrics["exported_accuracy"]
            == pytest.approx(record.metrics["val_accuracy"])
        )
    x, y = data(24, 1)
    accuracy = search.best_model().evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(max(r.score for r in search.results()), abs=0.05)


class Worsens(keras.callbacks.Callback):
    """Lets each validation but the first one see the rarest class alone, so that epoch 0 stays the best."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_test_begin(self, logs=None):
        if self.epoch:
            rarest = np.bincount(data(24, 1)[1]).argmin()
            self.model.get_layer("top").bias.assign(100.0 * np.eye(3)[rarest])


def test_the_file_of_a_best_epoch_before_the_thaw(tmp_path):
    search = FreezeDepthSearch(build_model, [1], ["head_then_all"], **FIXED)
    tuner = grid(search, tmp_path, objective=kerasft.ExportedAccuracy())
    x, y = data(24, 1)
    searched(tuner, callbacks=[Worsens()], validation_data=(x, y, np.ones(24)))
    (record,) = search.results()
    assert record.status == "completed" and record.best_epoch == 0, record.reason
    assert record.score == pytest.approx(record.curve[0]) and record.score > record.curve[1]


def test_the_exported_file_where_no_accuracy_is_logged(tmp_path):
    def build():
        model = build_model(compiled=False)
        model.compile(keras.optimizers.AdamW(0.01), "sparse_categorical_crossentropy")
        return model

    search = FreezeDepthSearch(build, [2], ["frozen_head"], **FIXED)
    searched(grid(search, tmp_path, objective=kerasft.ExportedAccuracy()))
    (record,) = search.results()
    assert record.score == record.metrics["exported_accuracy"] > 0.3, record.reason


def test_a_file_over_a_cap_scores_nothing(tmp_path):
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    tuner = searched(grid(search, tmp_path, objective=kerasft.ExportedAccuracy(max_bytes=10)))
    (record,) = search.results()
    assert record.score == 0.0 and record.scores == [0.0] and "exceed max_bytes=10" in record.reason
    assert tuner.oracle.get_trial(record.trial).score == 0.0


def test_an_objective_that_was_never_a_number_fails_the_trial(tmp_path):
    class Never(keras.metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return float("nan")

    def build():
        model = build_model(compiled=False)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=[Never(name="never")])
        return model

    search = FreezeDepthSearch(build, [2], ["frozen_head", "head_then_all"], share=False, **FIXED)
    searched(grid(search, tmp_path, objective=keras_tuner.Objective("val_never", "max")))
    assert [(r.status, r.reason) for r in search.results()] == [
        ("failed", "val_never was NaN in each epoch.")
    ] * 2
