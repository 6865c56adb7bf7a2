"""The outcome of a job, as rows, as JSON and on the terminal."""

import json
from pathlib import Path

import pytest
import typer

import kerasft
from kerasft import Phase, UnfreezingSchedule
from kerasft.commands.outcome import Outcome, phase_rows, report_json, show

HISTORY = {
    "trainable_params": [18.0, 18.0, 53.0],
    "accuracy": [0.25, 0.5, 0.75],
    "val_accuracy": [0.125, 0.25, 0.5],
}


def outcome(rows, **changes):
    fields = {
        "phases": rows,
        "head_accuracy": 0.5,
        "accuracy": 0.625,
        "reports": {},
        "failures": {"float32": "by so much"},
        "frozen_checked": 12,
        "seconds": 3.21,
        "out": Path("out"),
    }
    return Outcome(**{**fields, **changes})


@pytest.fixture
def rows(dense_model):
    schedule = UnfreezingSchedule([Phase("top", 2), Phase("second", 1)])
    return phase_rows(schedule, kerasft.find_stages(dense_model), HISTORY)


def test_a_row_holds_the_last_epoch_of_its_phase(rows):
    assert [(r["depth"], r["from"], r["epochs"], r["trained"]) for r in rows] == [
        (2, "top", 2, 18),
        (1, "second", 1, 53),
    ]
    assert [(r["accuracy"], r["val_accuracy"]) for r in rows] == [(0.5, 0.25), (0.75, 0.5)]


def test_phases_that_end_early_or_never_begin_have_the_epochs_that_ran(dense_model):
    phases = [Phase("top", 5, patience=1, monitor="loss"), Phase("top", 1), Phase(0)]
    history = {**HISTORY, "phase": [0.0, 0.0, 1.0]}
    rows = phase_rows(UnfreezingSchedule(phases), kerasft.find_stages(dense_model), history)
    assert [(r["from"], r["epochs"], r["accuracy"]) for r in rows] == [("top", 2, 0.5), ("top", 1, 0.75)]


def test_a_depth_that_is_a_number_is_shown_by_the_stage_that_trains_first(dense_model):
    schedule = UnfreezingSchedule([Phase(2, 2), Phase(0, 1)])
    rows = phase_rows(schedule, kerasft.find_stages(dense_model), HISTORY)
    assert [(r["depth"], r["from"]) for r in rows] == [(2, "top"), (0, "first")]


def test_the_report_in_json(rows):
    content = json.loads(report_json(outcome(rows), HISTORY))
    assert content["phases"] == rows and content["history"] == HISTORY
    assert (content["seconds"], content["cache"], content["exports"]) == (3.2, None, {})
    assert content["not_exported"] == {"float32": "by so much"}


def test_nothing_exported_gives_a_status_and_says_where_the_model_is(rows, capsys):
    with pytest.raises(typer.Exit) as ended:
        show(outcome(rows))
    assert ended.value.exit_code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "float32 was not exported: by so much" in printed
    assert f"The trained model is in {Path('out') / 'model.keras'}" in printed
    assert "second" in printed and "0.7500" in printed
