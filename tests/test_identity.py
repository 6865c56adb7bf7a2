"""A run that goes on is the run that was stored, or the message says what differs."""

from pathlib import Path

import pytest

from kerasft.identity import as_stored, require_same


def test_what_both_name_must_agree():
    require_same({"seed": 1, "old": 2}, {"seed": 1, "new": 3}, "It was begun", "")
    with pytest.raises(ValueError, match="another seed: it was 1 and is 2"):
        require_same({"seed": 1, "old": 2}, {"seed": 2, "new": 3}, "It was begun", "")
    require_same(as_stored({"depths": (0, 1)}), {"depths": (0, 1)}, "It was begun", "")
    require_same(as_stored({"out": Path("a")}), {"out": Path("a")}, "It was begun", "")


def test_all_that_differs_is_named():
    then = {"search_space": {"rate": 1, "gone": 2, "same": 0}, "seed": 1, "epochs": 3}
    now = {"search_space": {"rate": 5, "new": 4, "same": 0}, "seed": 2, "epochs": 3}
    with pytest.raises(ValueError) as caught:
        require_same(then, now, "The search was begun", "Start another.")
    assert str(caught.value) == (
        "The search was begun with another search space: rate was 1 and is 5; gone is gone (it was 2); "
        "new is new (4); another seed: it was 1 and is 2. Start another."
    )


def test_a_long_value_is_cut():
    with pytest.raises(ValueError) as caught:
        require_same({"list": list(range(500))}, {"list": []}, "It was begun", "")
    assert len(str(caught.value)) < 200 and "..." in str(caught.value)


def test_parts_of_a_list_of_objects_are_compared_one_by_one():
    then = {"schedule": {"phases": [{"depth": 2, "epochs": 1}, {"depth": 0}]}}
    now = {"schedule": {"phases": [{"depth": 2, "epochs": 4}]}}
    with pytest.raises(ValueError) as caught:
        require_same(then, now, "It was begun", "Stop.")
    assert str(caught.value) == (
        "It was begun with another schedule: phases[0].epochs was 1 and is 4; "
        "phases[1].depth is gone (it was 0). Stop."
    )
