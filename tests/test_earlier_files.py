"""Files that version 0.1.0 wrote in its first layout are read as before."""

import shutil

import earlier_files as earlier
import keras
import numpy as np
import pytest

import kerasft
import kerasft.hub

FOLDER = earlier.FOLDER
same_keras = pytest.mark.skipif(
    keras.__version__.split(".")[:2] != ["3", "15"],
    reason="records are known by the settings of layers, which another Keras writes otherwise",
)


@pytest.fixture
def folder(tmp_path):
    """A copy of the files: runs that go on change them."""
    return shutil.copytree(FOLDER, tmp_path / "earlier")


def arrays(name):
    with np.load(FOLDER / name) as stored:
        return list(stored.values())


def assert_close(found, expected, atol=1e-6):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def test_a_compiled_model_over_a_hub_backbone_loads_and_trains_on():
    model = keras.models.load_model(FOLDER / "model.keras")
    images, labels = earlier.images()
    outputs, *weights = arrays("model.npz")
    assert_close([model.predict(images, verbose=0)], [outputs])
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    stages = [layer for layer in backbone.layers if isinstance(layer, kerasft.hub.HubStage)]
    assert len(stages) == 2 and all(stage.batch_norm == "statistics" for stage in stages)
    assert model.optimizer.inner_optimizer.lr_multipliers
    model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
    # a step of Adam without its moments is 0.01 long; the order of sums, another machine's, moves it by less
    assert_close(model.get_weights(), weights, atol=1e-3)


def test_a_run_goes_on_from_its_backup(folder):
    model = earlier.dense()
    callbacks = earlier.callbacks(folder / "backup")
    earlier.fit(model, callbacks)
    assert_close(model.get_weights(), arrays("backup.npz"))
    assert model.history.epoch == [3, 4]  # the third epoch was its last one
    assert [report.depth for report in callbacks[0].report] == [0]


@same_keras
def test_a_kept_record_is_used(folder):
    model = earlier.dense()
    kerasft.freeze(model, "top")
    cache = kerasft.PrefixCache(folder / "records", keep=True, seed=0)
    earlier.fit(model, [cache], epochs=3)
    assert cache.reason is None and cache.report.kept and cache.report.samples == 24
    assert_close(model.get_weights(), arrays("records.npz"))


def test_a_search_goes_on(folder):
    ended = folder / "search" / "trial_0" / "kerasft.json"  # the kill came in trial 1, which runs again
    before = ended.read_bytes()
    search = earlier.search()
    tuner = earlier.run_search(search, folder)
    records = search.results(tuner)
    assert [record.trial for record in records] == ["0", "1", "2", "3"]
    assert ended.read_bytes() == before
    best = max(records, key=lambda record: record.score)
    score = search.best_model(tuner).evaluate(*earlier.points(12, 1), verbose=0, return_dict=True)
    assert score["accuracy"] == pytest.approx(best.score, abs=1e-6)


def test_a_search_of_other_depths_is_refused(folder):
    search = earlier.search()
    search.space.depths = [0, 1]
    with pytest.raises(Exception, match="was begun with another search space"):
        earlier.run_search(search, folder)


def test_a_schedule_and_the_papers_of_a_file_are_read():
    schedule = kerasft.UnfreezingSchedule.from_json(FOLDER / "schedule.json")
    assert schedule == kerasft.UnfreezingSchedule(earlier.PHASES)
    report = kerasft.export.Report.from_json((FOLDER / "report.json").read_text())
    assert report.size_bytes == (FOLDER / "model.tflite").stat().st_size and report.parity.samples == 16
    assert kerasft.export.verify_pack(FOLDER / "pack.zip").ok
