"""The result record of a trial."""

import json
import math

import pytest

from kerasft.search.results.record import TrialRecord, averaged, read_trial, read_trials

RECORDS = [
    TrialRecord("0", {"learning_rate": 1e-3}, "head_then_all", 2, "c", score=0.5, curve=[0.5], epochs=1),
    TrialRecord("1", {}, status="failed", reason="Traceback …"),
]


def test_a_record_comes_back_from_its_folder_and_others_are_not_there(tmp_path):
    for record in RECORDS:
        record.write(tmp_path / f"trial_{record.trial}")
    (tmp_path / "trial_4").mkdir()  # it was killed
    assert read_trials(tmp_path) == RECORDS
    assert read_trial(tmp_path / "trial_4") is None
    assert [p.name for p in (tmp_path / "trial_0").iterdir()] == ["kerasft.json"]


def test_executions_are_averaged_and_one_without_a_score_leaves_none():
    first = averaged(TrialRecord("0", {}, score=0.25, curve=[0.25]), None)
    assert (first.score, first.scores) == (0.25, [0.25])
    second = averaged(TrialRecord("0", {}, score=0.75, curve=[0.75]), first)
    assert (second.score, second.scores, second.curve) == (0.5, [0.25, 0.75], [0.75])
    none = averaged(TrialRecord("0", {}, status="failed"), second)
    assert math.isnan(none.score) and none.scores[:2] == [0.25, 0.75]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"trial": "1"}', "[" * 10**5, '{"trial": "1", "values": {}, "score": "x"}']
)
def test_a_damaged_record_is_left_out_and_named(tmp_path, caplog, text):
    whole = TrialRecord("0", {}, score=0.5)
    for name, content in (("trial_0", None), ("trial_1", text)):
        whole.write(tmp_path / name)
        if content is not None:
            (tmp_path / name / "kerasft.json").write_text(content)
    assert read_trials(tmp_path) == [whole]
    assert "left out" in caplog.text and "trial_0" not in caplog.text


def test_a_record_of_another_version_is_read(tmp_path):
    TrialRecord("0", {}, score=0.5).write(tmp_path / "trial_0")
    path = tmp_path / "trial_0" / "kerasft.json"
    content = json.loads(path.read_text())
    del content["depths"]
    path.write_text(json.dumps({**content, "of a later one": 1}))
    assert read_trials(tmp_path) == [TrialRecord("0", {}, score=0.5)]
