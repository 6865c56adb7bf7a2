"""The job of `kerasft search`: the best model and a report, whole or not at all."""

import csv
import io
import json

import keras
import pytest
import small_texts
from command_line import digits as load_digits
from command_line import tiny_backbone
from html_text import Page
from rich.console import Console
from small_searches import build_model

from kerasft import FreezeDepthSearch
from kerasft.commands.search_job import _tuner, run
from kerasft.commands.settings import TUNERS, SearchSettings
from kerasft.data import load_texts


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def digits():
    return load_digits(200)


def settings(handle, out, **changes):
    given = {"trials": 3, "epochs": 2, "tuner": "random", "depths": (1, "block_2")}
    given["input_range"] = (0.0, 1.0)  # the backbone was never trained: nothing tells its range
    return SearchSettings(handle, out, 16, **given | changes)


@pytest.mark.training
def test_a_search_writes_what_it_reports(handle, digits, tmp_path):
    printed = io.StringIO()
    out = tmp_path / "out"
    outcome = run(digits, settings(handle, out), Console(file=printed, width=200))
    assert sorted(p.name for p in out.iterdir()) == outcome.files
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert len(outcome.records) == 3 and outcome.objective == "val_accuracy"
    model = keras.models.load_model(out / "model.keras")
    assert [type(layer).__name__ for layer in model.layers][-1] == "Dense"
    evaluated = model.evaluate(digits.validation, verbose=0, return_dict=True)["accuracy"]
    assert evaluated == pytest.approx(outcome.best.score)
    tested = model.evaluate(digits.test, verbose=0, return_dict=True)["accuracy"]
    assert tested == pytest.approx(outcome.accuracy)
    rows = list(csv.DictReader(io.StringIO((out / "trials.csv").read_text())))
    assert [float(r["score"]) for r in rows] == [r.score for r in outcome.records]
    assert [r["curve"] for r in json.loads((out / "trials.json").read_text())] == [
        r.curve for r in outcome.records
    ]
    page = Page((out / "report.html").read_text())
    best = outcome.best
    assert f"The best is trial {best.trial}: " in page.of("trials")
    assert f"val_accuracy {best.score:.4f}." in page.of("trials")
    assert f"out: kerasft search {outcome.accuracy:.4f} test accuracy of the best" in page.of("")
    right = round(outcome.accuracy * digits.test_size)
    assert f"{right} of {digits.test_size} test samples are right" in page.of("confusion")
    assert not any("Not shown" in text for text in page.text.values())
    assert (out / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((out / "tensorboard").glob("trial_*/events*"))) == 3
    lines = printed.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [f"trial {r.trial}" for r in outcome.records]
    assert f"{outcome.best.score:.4f}" in printed.getvalue()


@pytest.mark.training
def test_a_terminal_has_a_live_table(handle, digits, tmp_path):
    printed = io.StringIO()
    console = Console(file=printed, width=120, force_terminal=True)
    run(digits, settings(handle, tmp_path / "out", trials=2, recipes=("frozen_head",)), console)
    assert "trial 1 of 2, epoch 1 of 2" in printed.getvalue() and "frozen head" in printed.getvalue()


@pytest.mark.training
def test_a_search_that_broke_off_goes_on(handle, digits, tmp_path, monkeypatch):
    class BreaksError(Exception):
        pass

    def fail(*given):
        raise BreaksError

    options = {"trials": 2, "recipes": ("frozen_head",)}
    with monkeypatch.context() as patch:
        patch.setattr(FreezeDepthSearch, "write_report", fail)
        with pytest.raises(BreaksError):
            run(digits, settings(handle, tmp_path / "out", **options))
    assert [p.name for p in tmp_path.iterdir()] == [".out.unfinished"]
    with pytest.raises(FileExistsError, match="--resume goes on"):
        run(digits, settings(handle, tmp_path / "out", **options))
    with pytest.raises(ValueError, match="begun with another epochs: it was 2 and is 3"):
        run(digits, settings(handle, tmp_path / "out", **options | {"epochs": 3}, resume=True))
    more = settings(handle, tmp_path / "out", **options | {"trials": 3}, resume=True)
    outcome = run(digits, more, Console(file=io.StringIO()))
    assert len(outcome.records) == 3


@pytest.mark.parametrize("name", TUNERS)
def test_the_seed_that_commands_have_by_default_is_one_for_the_tuner(name, tmp_path):
    """keras-tuner takes a seed of 0 for none, and draws another in each process."""

    def proposed(folder, **seed):
        search = FreezeDepthSearch(build_model)
        tuner = _tuner(search, settings("", tmp_path, tuner=name, **seed), tmp_path / folder)
        tuner.oracle.verbose = 0
        return [tuner.oracle.create_trial(str(i)).hyperparameters.values for i in range(2)]

    first = proposed("a")
    assert proposed("b") == first
    assert name == "grid" or proposed("c", seed=1) != first


def test_a_tuner_that_does_not_exist(handle, digits, tmp_path):
    with pytest.raises(ValueError, match=r"no tuner 'best'.*'bayesian'"):
        run(digits, settings(handle, tmp_path / "out", tuner="best"))


def test_texts_need_their_own_settings(handle, tmp_path):
    texts = load_texts(str(small_texts.write_table(tmp_path / "texts.csv")))
    with pytest.raises(TypeError, match="TextSearchSettings, not SearchSettings"):
        run(texts, settings(handle, tmp_path / "out"))
