"""The report of a search."""

import sys

from small_searches import FIXED, build_model, grid, searched

from kerasft import FreezeDepthSearch
from kerasft.search.results.record import TrialRecord
from kerasft.search.results.report import write_report


def test_a_report_without_matplotlib_lacks_the_figure_alone(tmp_path, monkeypatch, caplog):
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    tuner = searched(grid(search, tmp_path))
    names = {"trials.csv", "trials.json", "tensorboard"}
    assert {p.name for p in search.write_report(tmp_path / "a", tuner)} == names | {"trials.png"}
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert {p.name for p in search.write_report(tmp_path / "b")} == names
    assert {p.name for p in (tmp_path / "b").iterdir()} == names
    assert 'pip install "kerasft[plots]"' in caplog.text


def test_a_later_report_replaces_an_earlier_one(tmp_path):
    record = TrialRecord("0", {}, "frozen_head", 3, "top", score=0.5, curve=[0.5], epochs=1)
    names = ["trials.csv", "trials.json", "tensorboard", "trials.png"]
    for count in (1, 2):
        records = [TrialRecord(str(i), {}, "frozen_head", 3, "top", score=0.5) for i in range(count)]
        assert [path.name for path in write_report([*records, record][:count], "accuracy", tmp_path)] == names
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 1 + 2
