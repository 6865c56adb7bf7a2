"""Schedules: data, checks and JSON."""

import pytest

from kerasft import Phase, UnfreezingSchedule, find_stages


def test_phases_follow_each_other():
    schedule = UnfreezingSchedule([Phase("top", 2), Phase(1, 3), Phase(0)])
    assert schedule.starts == [0, 2, 5]
    assert [schedule.index_at(e) for e in range(7)] == [0, 0, 1, 1, 1, 2, 2]


def test_one_stage_at_a_time(dense_model):
    schedule = UnfreezingSchedule.one_stage_at_a_time(find_stages(dense_model), every=2)
    assert [(p.depth, p.epochs) for p in schedule] == [(2, 2), (1, 2), (0, None)]


def test_head_then_all(dense_model):
    schedule = UnfreezingSchedule.head_then_all(find_stages(dense_model), head_epochs=3)
    assert [(p.depth, p.epochs) for p in schedule] == [(2, 3), (0, None)]


def test_json_round_trip(tmp_path):
    schedule = UnfreezingSchedule(
        [Phase("top", 2, multipliers={"block_*": 0.1}), Phase(0, learning_rate=1e-4)]
    )
    text = schedule.to_json(tmp_path / "schedule.json")
    assert UnfreezingSchedule.from_json(text) == schedule
    assert UnfreezingSchedule.from_json(tmp_path / "schedule.json") == schedule
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "phases"),
        ('{"phases": [{"epochs": 1}]}', "needs `depth`"),
        ('{"phases": [{"depth": 1, "speed": 2}]}', "speed"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ValueError, match=message):
        UnfreezingSchedule.from_json(text)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: UnfreezingSchedule([]), ValueError, "at least one"),
        (lambda: UnfreezingSchedule([Phase(1), Phase(0)]), ValueError, "overlaps phase 1"),
        (lambda: Phase(1, epochs=0), ValueError, "empty"),
        (lambda: Phase(-1), ValueError, "negative"),
        (lambda: Phase(1.5), TypeError, "integer or a stage's name"),
        (lambda: Phase(1, epochs="2"), TypeError, "integer or None"),
        (lambda: Phase(1, learning_rate=float("nan")), ValueError, "finite"),
        (lambda: Phase(1, multipliers={"a": -1}), ValueError, "not negative"),
        (lambda: UnfreezingSchedule([1]), TypeError, "kerasft.Phase"),
    ],
)
def test_faults_are_found_when_it_is_written(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_check_lists_every_fault_at_once(dense_model):
    stages = find_stages(dense_model)
    schedule = UnfreezingSchedule([Phase("nose", 2), Phase(3, 2), Phase(0)])
    with pytest.raises(ValueError) as caught:
        schedule.check(stages, epochs=4)
    text = str(caught.value)
    assert "'nose'" in text and "leaves nothing to train" in text and "no epoch reaches" in text
    assert UnfreezingSchedule([Phase("top", 2), Phase(0)]).check(stages, epochs=3) == [2, 0]
