"""The result records of a search as CSV, JSON and a table."""

import csv
import io
import json

from html_tables import Shown

from kerasft.search.results.record import TrialRecord
from kerasft.search.results.tables import Trials, table, to_csv, to_json
from kerasft.tables import plain_text

RECORDS = [
    TrialRecord("0", {"learning_rate": 1e-3, "tuner/epochs": 2}, "head_then_all", 2, "c", score=0.5),
    TrialRecord("1", {"learning_rate": 1e-2}, "frozen_head", 5, "top", "stopped", 0.9, [0.4, 0.9], 1),
    TrialRecord("2", {}, "frozen_head", 5, "top", "failed", None, reason="Traceback …"),
    TrialRecord("3", {}, "frozen_head", 5, "top", score=0.9, metrics={"val_accuracy": 0.9}),
]


def test_csv_has_a_column_for_everything_and_nothing_of_the_tuners_own():
    rows = list(csv.DictReader(io.StringIO(to_csv(RECORDS))))
    assert [r["trial"] for r in rows] == ["0", "1", "2", "3"]
    assert [r["hp:learning_rate"] for r in rows] == ["0.001", "0.01", "", ""]
    assert rows[3]["val_accuracy"] == "0.9" and rows[2]["score"] == ""
    assert not any("tuner/" in name for name in rows[0])


def test_json_has_the_curves():
    assert json.loads(to_json(RECORDS))[1]["curve"] == [0.4, 0.9]


def test_the_table_has_the_best_first_and_the_failed_last():
    lines = plain_text(table(RECORDS, "max", "Trials")).splitlines()
    assert [line.split("│")[1].strip() for line in lines if "│" in line] == ["1", "3", "0", "2"]
    assert "1.0e-02" in lines[4] and "stopped" in lines[4] and "failed" in lines[7]
    assert len(plain_text(table(RECORDS, "max", most=2)).splitlines()) == 6


def test_a_notebook_shows_the_list_as_the_table():
    trials = Trials(RECORDS, "max")
    assert trials == RECORDS and isinstance(trials, list)
    shown = Shown(trials._repr_html_())
    assert [row[0] for row in shown.rows] == ["trial", "1", "3", "0", "2"]
    assert [row[0] for row in Shown(Trials(RECORDS, "min")._repr_html_()).rows[1:4]] == ["0", "1", "3"]
