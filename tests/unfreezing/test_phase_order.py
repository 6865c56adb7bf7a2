"""Phases that can't follow one another, or don't fit a model."""

import keras
import pytest

from kerasft import Phase, UnfreezingSchedule, find_stages


def test_what_rate_comes_after_a_schedule_of_the_rate_has_to_be_said():
    decay = keras.optimizers.schedules.CosineDecay(0.1, 10)
    with pytest.raises(ValueError, match="Phase 1 .0. has no learning_rate, and phase 0 has a CosineDecay"):
        UnfreezingSchedule([Phase(1, 1, learning_rate=decay), Phase(0)])
    assert len(UnfreezingSchedule([Phase(1, 1), Phase(0, 1, learning_rate=decay)])) == 2


def test_check_lists_every_fault_at_once(dense_model):
    stages = find_stages(dense_model)
    schedule = UnfreezingSchedule([Phase("nose", 2), Phase(3, 2), Phase(0)])
    with pytest.raises(ValueError) as caught:
        schedule.check(stages, epochs=4)
    text = str(caught.value)
    assert "'nose'" in text and "leaves nothing to train" in text and "no epoch reaches" in text
    assert UnfreezingSchedule([Phase("top", 2), Phase(0)]).check(stages, epochs=3) == [2, 0]
