"""The state machine of GradualUnfreezing: hand-made sequences of scores."""

import json
import math

import pytest

from kerasft import Phase, UnfreezingSchedule
from kerasft.unfreezing.phase_clock import PhaseClock


def walk(phase, scores, last=False):
    """(best so far?, over?) after each epoch of one phase."""
    schedule = UnfreezingSchedule([phase] if last else [phase, Phase(0)])
    clock = PhaseClock(schedule)
    return [(clock.observe(i, {"loss": s}), clock.ended) for i, s in enumerate(scores)]


@pytest.mark.parametrize(
    ("phase", "scores", "improved", "ends"),
    [
        # the third epoch is the second without improvement
        (Phase(1, patience=2, monitor="loss"), [1.0, 1.5, 1.2], [1, 0, 0], 2),
        # a tie is no improvement
        (Phase(1, patience=2, monitor="loss"), [1.0, 1.0, 1.0], [1, 0, 0], 2),
        # an improvement starts the count again
        (Phase(1, patience=2, monitor="loss"), [1.0, 1.5, 0.9, 1.0, 1.0], [1, 0, 1, 0, 0], 4),
        (Phase(1, patience=1, monitor="loss", mode="max"), [1.0, 1.5, 1.4], [1, 1, 0], 2),
        # 0.95 is better than 1.0 by less than 0.1; 0.85 is better by more
        (
            Phase(1, patience=2, monitor="loss", min_delta=0.1),
            [1.0, 0.95, 0.85, 0.8, 0.8],
            [1, 0, 1, 0, 0],
            4,
        ),
        (Phase(1, 2, 3, "loss"), [1.0, 0.9], [1, 1], 1),  # epochs come first
        (Phase(1, 9, 1, "loss"), [1.0, 1.9], [1, 0], 1),  # patience comes first
        (Phase(1, 3, 1, "loss", ends="last"), [1.0, 1.9, 1.8], [1, 0, 0], 2),  # epochs come last
        (Phase(1, 1, 2, "loss", ends="last"), [1.0, 1.9, 1.8], [1, 0, 0], 2),  # patience comes last
        (Phase(1, patience=2, monitor="loss"), [math.nan, math.nan], [0, 0], 1),  # NaN never improves
        (Phase(1, patience=2, monitor="loss"), [1.0, math.nan, 0.5, 0.6, 0.6], [1, 0, 1, 0, 0], 4),
        (Phase(1, 2), [1.0, 0.5], [0, 0], 1),  # nobody watches
    ],
)
def test_best_epochs_and_the_end(phase, scores, improved, ends):
    steps = walk(phase, scores)
    assert [int(best) for best, _ in steps] == improved
    assert [over for _, over in steps] == [i >= ends for i in range(len(scores))]


def test_the_last_phase_ends_by_patience_alone():
    assert [over for _, over in walk(Phase(0, 1), [1.0, 1.0], last=True)] == [False, False]
    patient = Phase(0, patience=1, monitor="loss")
    assert [over for _, over in walk(patient, [1.0, 1.0], last=True)] == [False, True]
    both = Phase(0, 2, 5, "loss")
    assert [over for _, over in walk(both, [1.0, 0.9], last=True)] == [False, True]


def test_equal_scores_at_two_depths_stay_apart():
    schedule = UnfreezingSchedule([Phase(1, 1, monitor="loss"), Phase(0, monitor="loss")])
    clock = PhaseClock(schedule)
    assert clock.observe(0, {"loss": 0.5})
    clock.advance()
    assert clock.observe(1, {"loss": 0.5})  # the best of its own phase
    assert (clock.index, clock.best, clock.best_epoch) == (1, 0.5, 1)


def test_it_stands_at_an_epoch_and_survives_json():
    schedule = UnfreezingSchedule([Phase(1, 2), Phase(0, patience=3, monitor="loss")])
    clock = PhaseClock(schedule)
    clock.move_to(3)
    assert (clock.index, clock.epochs) == (1, 1)
    clock.observe(3, {"loss": 1.0})
    assert PhaseClock.from_dict(schedule, json.loads(json.dumps(clock.to_dict()))) == clock


@pytest.mark.parametrize(
    ("phase", "scores", "improved", "ends"),
    [
        # 1.0 to 0.75 is exactly 0.25, which is not more than 0.25; 1.0 to 0.5 is
        (Phase(1, 9, monitor="loss", min_delta=0.25), [1.0, 0.75, 0.5], [1, 0, 1], 9),
        # improvements are measured from the best value, so small ones add up: 1.0, then 0.8, 0.7 against 1.0
        (Phase(1, 9, monitor="loss", min_delta=0.25), [1.0, 0.8, 0.7], [1, 0, 1], 9),
        (Phase(1, 9, monitor="loss", min_delta=0.25, mode="max"), [0.0, 0.25, 0.5], [1, 0, 1], 9),
        # an infinite value is no score: the first finite one is the best
        (Phase(1, patience=2, monitor="loss"), [math.inf, 3.0, -math.inf, 3.0], [0, 1, 0, 0], 3),
        # patience runs out in epoch 2 and stays so if the phase waits for its epochs
        (Phase(1, 5, 2, "loss", ends="last"), [1.0, 1.0, 1.0, 1.0, 1.0], [1, 0, 0, 0, 0], 4),
        # ... but an improvement before the fifth epoch starts the count again: 4 + 2 = 6
        (Phase(1, 5, 2, "loss", ends="last"), [1, 1, 1, 1, 0.5, 0.5, 0.5], [1, 0, 0, 0, 1, 0, 0], 6),
        (Phase(1, 2, 2, "loss"), [1.0, 2.0], [1, 0], 1),
        (Phase(1, 1, monitor="loss"), [1.0], [1], 0),
    ],
)
def test_more_sequences(phase, scores, improved, ends):
    steps = walk(phase, scores)
    assert [int(best) for best, _ in steps] == improved
    assert [over for _, over in steps] == [i >= ends for i in range(len(scores))]


def test_a_last_phase_waits_for_the_later_of_its_ends():
    both = Phase(0, 3, 1, "loss", ends="last")
    assert [over for _, over in walk(both, [1.0, 1.0, 1.0], last=True)] == [False, False, True]


def test_a_monitor_without_patience_only_tells_the_best_epoch():
    clock = PhaseClock(UnfreezingSchedule([Phase(0, monitor="acc")]))
    assert [clock.observe(e, {"acc": a}) for e, a in enumerate([0.5, 0.9, 0.7])] == [True, True, False]
    assert (clock.best, clock.best_epoch, clock.wait, clock.ended) == (0.9, 1, 1, False)


def test_freezing_again_resets_everything_but_the_phase():
    schedule = UnfreezingSchedule([Phase(1, 1, monitor="a_loss"), Phase(0, 1, monitor="b_loss"), Phase(1)])
    clock = PhaseClock(schedule)
    clock.observe(0, {"a_loss": 0.1})
    clock.advance()
    assert clock == PhaseClock(schedule, index=1)
    clock.observe(1, {"b_loss": 5.0})  # worse than phase 0's best, which was another's
    assert clock.best_epoch == 1
    clock.advance()
    assert (clock.phase.depth, clock.is_last, clock.observe(2, {}), clock.ended) == (1, True, False, False)
    with pytest.raises(ValueError, match="last one"):
        clock.advance()
    assert clock.index == 2


def test_a_missing_monitor_leaves_the_clock_as_it_was():
    clock = PhaseClock(UnfreezingSchedule([Phase(0, patience=1, monitor="val_loss")]))
    with pytest.raises(ValueError, match="val_loss.*validation_freq=1"):
        clock.observe(0, {"loss": 1.0})
    assert clock == PhaseClock(clock.schedule)


def test_clock_at_an_epoch():
    fixed = UnfreezingSchedule([Phase(2, 2), Phase(1, 3), Phase(0)])
    clock, places = PhaseClock(fixed), []
    for epoch in range(7):
        clock.move_to(epoch)
        places.append((clock.index, clock.epochs))
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    patient = UnfreezingSchedule([Phase(1, patience=1, monitor="loss"), Phase(0)])
    clock = PhaseClock(patient)
    clock.observe(0, {"loss": 1.0})
    clock.move_to(0)
    assert clock == PhaseClock(patient)
    with pytest.raises(ValueError, match="epoch 2 .*patience"):
        clock.move_to(2)
    with pytest.raises(ValueError, match="received -1"):
        PhaseClock(fixed).move_to(-1)


def test_the_same_run_goes_on_after_json():
    schedule = UnfreezingSchedule([Phase(1, patience=3, monitor="loss", multipliers={"a": 0.1}), Phase(0)])
    scores = [1.0, 2.0, math.nan, 0.5, 0.6, 0.6, 0.6]
    whole, parts = PhaseClock(schedule), PhaseClock(schedule)
    for epoch, score in enumerate(scores):
        state = json.dumps(parts.to_dict(), allow_nan=False)
        parts = PhaseClock.from_dict(schedule, json.loads(state))
        assert parts.observe(epoch, {"loss": score}) == whole.observe(epoch, {"loss": score})
        assert parts == whole
    assert whole.ended and (whole.best, whole.best_epoch, whole.wait) == (0.5, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"index": 2}, "no phase 2.*has 2"), ({"index": -1}, "no phase -1"), ({"speed": 1}, "speed")],
)
def test_a_state_that_does_not_fit(change, message):
    schedule = UnfreezingSchedule([Phase(1, 1), Phase(0)])
    with pytest.raises(ValueError, match=message):
        PhaseClock.from_dict(schedule, {**PhaseClock(schedule).to_dict(), **change})
    with pytest.raises(ValueError, match="received \\[\\]"):
        PhaseClock.from_dict(schedule, {})
    earlier = PhaseClock(schedule, index=1).to_dict()
    del earlier["stopped"]  # as an earlier version wrote it
    assert PhaseClock.from_dict(schedule, earlier) == PhaseClock(schedule, index=1)


def test_a_phase_that_is_stopped_has_ended_and_the_next_one_has_not():
    clock = PhaseClock(UnfreezingSchedule([Phase(1, 5), Phase(0)]), stopped=True)
    assert clock.ended
    clock.advance()
    assert not clock.ended
