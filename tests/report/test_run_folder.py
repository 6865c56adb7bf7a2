"""The folder of a run, or what is none."""

import pytest
import stored_run

from kerasft.report.run_folder import read_run, write_evidence


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is no run: .*report\.json.* There is no such folder"
    ):
        read_run(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"It holds notes\.txt\. Give the folder that --out named"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="is no report of a run: it has path, precision, and neither phases"):
        read_run(stored_run.write(tmp_path / "export", report={"path": "m", "precision": "int8"}))
    with pytest.raises(ValueError, match="it has a list, and neither phases"):
        read_run(stored_run.write(tmp_path / "list", report=[1]))
    with pytest.raises(ValueError, match=r"trials\.json is a list of trials; received int"):
        read_run(stored_run.write(tmp_path / "search", trials=7))


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "", "[" * 100_000])
def test_damaged_json_is_named_and_the_rest_is_read(tmp_path, text):
    run = read_run(stored_run.write(tmp_path / "a", report=stored_run.report(), evidence=text))
    assert len(run.problems) == 1 and str(tmp_path / "a" / "evidence.json") in run.problems[0]
    assert run.report["accuracy"] == 0.7 and run.evidence == {}
    run = read_run(stored_run.write(tmp_path / "b", report=text, evidence=stored_run.evidence()))
    assert "report.json" in run.problems[0] and run.section("stages")
    with pytest.raises(ValueError, match=r"report\.json.*evidence\.json"):
        read_run(stored_run.write(tmp_path / "c", report=text, evidence=text))


def test_bytes_that_are_no_text_are_named(tmp_path):
    folder = stored_run.write(tmp_path, report=stored_run.report())
    (folder / "evidence.json").write_bytes(b"\xff\xfe")
    assert "evidence.json can't be read" in read_run(folder).problems[0]


def test_evidence_comes_back(tmp_path):
    stored_run.write(tmp_path, report=stored_run.report())
    write_evidence(tmp_path / "evidence.json", {"stages": [{"name": "ü", "parameters": 1}]})
    assert read_run(tmp_path).evidence == {"version": 1, "stages": [{"name": "ü", "parameters": 1}]}


def test_an_unfinished_search_has_the_trials_that_have_ended(tmp_path):
    begun = stored_run.write(tmp_path / ".out.unfinished", job={"tuner": "random", "handle": "h"})
    for number in (10, 9):
        stored_run.write(begun / "state" / "search" / f"trial_{number:02}", kerasft={"trial": str(number)})
    run = read_run(tmp_path / "out")
    assert (run.kind, run.finished, [t["trial"] for t in run.trials]) == ("search", False, ["9", "10"])
    assert run.section("settings")["handle"] == "h"
