"""The job of `kerasft finetune`: everything is written, or nothing."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import digits as load_digits
from command_line import tiny_backbone

import kerasft
from kerasft import export
from kerasft.commands import finetune_job as job
from kerasft.commands import image_task
from kerasft.commands.progress import EpochBar
from kerasft.commands.settings import FinetuneSettings
from kerasft.recipes import augmentation


@pytest.fixture(scope="module", autouse=True)
def views_are_used():
    """Whatever they do to the probe, for this backbone is random."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "CLEAR", 100.0)
        yield


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("hub"), normalized=True)


@pytest.fixture(scope="module")
def digits():
    return load_digits(300)


def settings(handle, out, **changes):
    given = {"epochs": (1, 1, 1), "input_range": (0.0, 1.0)}  # nothing tells the range of a new backbone
    return FinetuneSettings(handle, out, 16, **{**given, **changes})


@pytest.mark.process
def test_a_job_writes_what_it_reports(handle, digits, tmp_path):
    outcome = job.run(digits, settings(handle, tmp_path / "out"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(outcome.files)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["depth"] for row in report["phases"]] == [3, 2, 1]
    assert (
        report["exports"]["float32"]["quality"]["accuracy_file"] == outcome.reports["float32"].accuracy_file
    )
    assert report["history"]["freeze_depth"] == [3, 2, 1]
    assert outcome.cache.replayed == report["cache"]["replayed"] == [False, False, True]
    assert outcome.frozen_checked == (3 + 2 + 1) * 6  # blocks frozen in the three epochs, 6 weights each
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    accuracy = model.evaluate(digits.test, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(outcome.accuracy)
    schedule = kerasft.UnfreezingSchedule.from_json(tmp_path / "out" / "schedule.json")
    assert [phase.depth for phase in schedule] == ["head", "block_2", "block_1"]
    assert (tmp_path / "out" / "labels.txt").read_text().split() == list("0123456789")


@pytest.mark.training
def test_one_number_of_epochs_is_the_default_recipe(handle, digits, tmp_path):
    """The upper two thirds train from the solved head on, on views; phases see pictures as they are."""
    backbone = Path(shutil.copytree(handle, tmp_path / "elsewhere" / "tiny"))
    given = settings(str(backbone), tmp_path / "out", epochs=(2,), precisions=("float32",))
    job.run(digits, given, keep=[backbone])
    assert (tmp_path / "out" / "tiny" / "saved_model.pb").exists() and not backbone.exists()
    evidence = json.loads((tmp_path / "out" / "evidence.json").read_text())
    (phase,) = evidence["phases"]
    assert evidence["settings"]["handle"] == str(tmp_path / "out" / "tiny")
    assert (phase["from"], phase["epochs"]) == ("block_1", 2)
    assert (phase["learning_rate"], phase["warmup_steps"]) == ("CosineDecay", max(len(digits.train), 10))
    head, *views = evidence["measured"]
    assert head.startswith(f"The head, solved on {digits.train_size} samples, has an accuracy of 0.")
    assert [view.split()[1] for view in views] == ["(flip)", "(affine)", "(color)"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cache"] is None  # what each pass draws anew is not recorded
    assert evidence["moved"][0] == 0 and all(moved > 0 for moved in evidence["moved"][1:])


@pytest.mark.training
def test_phases_begin_with_the_solved_head_too(handle, digits, tmp_path):
    """So the head has moved little from what logistic regression finds: its accuracy is there at once."""
    outcome = job.run(digits, settings(handle, tmp_path / "out", epochs=(1, 1), precisions=("float32",)))
    evidence = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert len(evidence["measured"]) == 1
    assert outcome.phases[0]["val_accuracy"] > outcome.head_accuracy - 0.1


@pytest.mark.training
def test_an_export_that_fails_keeps_the_trained_model(handle, digits, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise export.ExportError("by so much")

    monkeypatch.setattr(image_task, "to_tflite", fail)
    outcome = job.run(digits, settings(handle, tmp_path / "out"))
    assert outcome.failures == {"float32": "by so much", "float16": "by so much"} and outcome.reports == {}
    assert (tmp_path / "out" / "model.keras").exists()


def test_a_job_that_breaks_off_leaves_nothing(handle, digits, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(EpochBar, "on_epoch_begin", stop)
    with pytest.raises(KeyboardInterrupt):
        job.run(digits, settings(handle, tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


STOPPED = {
    "plain": {"epochs": (2, 1, 1), "cache": False},
    "cached": {"epochs": (2, 1, 1)},
    "recipe": {"epochs": (4,)},
}


@pytest.fixture(scope="module")
def whole_jobs(handle, tmp_path_factory):
    """Jobs that nobody stops: the folder and the outcome of each."""
    found = {}
    for kind, changes in STOPPED.items():
        out = tmp_path_factory.mktemp("whole") / "out"
        keras.utils.set_random_seed(0)
        found[kind] = out, job.run(load_digits(300), settings(handle, out, **changes))
    return found


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "epoch"), [("plain", 1), ("cached", 1), ("cached", 2), ("cached", 3), ("recipe", 2)]
)
def test_a_job_that_is_stopped_resumes_to_the_same_model(
    handle, digits, whole_jobs, tmp_path, monkeypatch, kind, epoch
):
    """With the cache, epochs 0 and 1 read the data, and epochs 2 and 3 come from the record."""
    options, cache = STOPPED[kind], kind == "cached"
    folder, whole = whole_jobs[kind]
    original, batches = EpochBar.on_train_batch_end, []

    def stop(self, batch, logs=None):
        original(self, batch, logs)
        batches.append(batch)
        if batches.count(0) == epoch + 1 and batch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(EpochBar, "on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        job.run(load_digits(300), settings(handle, tmp_path / "out", **options))
    monkeypatch.undo()
    assert (tmp_path / ".out.unfinished").is_dir() and not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError, match="--resume"):
        job.run(digits, settings(handle, tmp_path / "out"))
    with pytest.raises(ValueError, match=r"another learning rate: it was null and is 0\.1"):
        job.run(digits, settings(handle, tmp_path / "out", resume=True, learning_rate=0.1, **options))
    outcome = job.run(load_digits(300), settings(handle, tmp_path / "out", resume=True, **options))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    one, other = (keras.models.load_model(out / "model.keras") for out in (folder, tmp_path / "out"))
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert outcome.phases == whole.phases
    one, other = (json.loads((out / "evidence.json").read_text()) for out in (folder, tmp_path / "out"))
    for name in ("rates", "distance"):
        rows, expected = ([row[name] for row in found["epochs"]] for found in (other, one))
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(other["moved"], one["moved"], atol=1e-6)
    assert other["moved"][0] == 0 and other["moved"][-1] > 0
    assert len(other["epochs"]) == 4
    assert other["evaluation"]["confusion"] == one["evaluation"]["confusion"]
    assert (outcome.frozen_checked, outcome.accuracy) == (whole.frozen_checked, whole.accuracy)
    assert (whole.cache is not None) == cache
    if cache:
        assert whole.cache.replayed == [False, False, True, True]
        assert outcome.cache.replayed == whole.cache.replayed[epoch:]
    with pytest.raises(FileNotFoundError, match="no unfinished run"):
        job.run(digits, settings(handle, tmp_path / "new", resume=True))
