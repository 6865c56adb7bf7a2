"""Cuts follow the plan: at the depth in force, at coming depths, at given ones, and at lower ones."""

import keras
import pytest

import kerasft
from kerasft.cache.cut_plan import CutPlan, FitCuts
from kerasft.cache.cuts.cut import NoCutError


class Schedule(keras.callbacks.Callback):
    """Any callback that knows coming depths."""

    acts_at_window_boundaries = True
    batch_norm = None

    def __init__(self, stages, depths):
        super().__init__()
        self.stages, self.coming_depths = stages, depths


@pytest.fixture
def stages():
    """Four layers in a row, frozen up to the last one."""
    layers = [keras.layers.Dense(4, name=name) for name in "abcd"]
    model = keras.Sequential([keras.Input((4,)), *layers])
    kerasft.freeze(model, "d")
    return kerasft.find_stages(model)


def names(cuts):
    return [cut.name for cut in cuts]


def test_the_cut_in_force(stages):
    assert names(FitCuts(CutPlan(), stages.model, []).find(())) == ["c"]


def test_coming_depths_of_any_callback(stages):
    cuts = FitCuts(CutPlan(), stages.model, [keras.callbacks.History(), Schedule(stages, [3, 2, 3, 1, 0])])
    assert names(cuts.find(())) == ["c", "b", "a"]  # nothing is frozen at depth 0
    assert kerasft.freeze_depth(stages.model) == 3
    thawed = FitCuts(CutPlan(), stages.model, [Schedule(stages, [1, 3, 2])])
    assert names(thawed.find(())) == ["c"]  # what lies below 3 and 2 has trained by then
    not_begun = FitCuts(CutPlan(), stages.model, [Schedule(None, [3, 2])])
    assert names(not_begun.find(())) == ["c"]


def test_depths_that_are_given_take_the_place_of_a_schedules(stages):
    schedule = Schedule(stages, [3, 2])
    given = CutPlan(stages=stages, depths=[1])
    assert names(FitCuts(given, stages.model, [schedule]).find(())) == ["c", "a"]
    none = CutPlan(stages=stages, depths=[])
    assert names(FitCuts(none, stages.model, [schedule]).find(())) == ["c"]


def test_cuts_that_save_little_are_left_out(stages):
    # the layers are alike, so a quarter of the work lies before each
    plan = CutPlan(least_share=0.5, stages=stages, depths=[2, 1])
    assert names(FitCuts(plan, stages.model, []).find(())) == ["c", "b"]
    with pytest.raises(NoCutError, match=r"A record at 'c' would save 75.0% of the model's work"):
        FitCuts(CutPlan(least_share=0.8), stages.model, []).find(())


def test_cuts_at_lower_depths(stages):
    cuts = FitCuts(CutPlan(), stages.model, [])
    assert names(cuts.earlier()) == ["b", "a"]
    assert [layer.trainable for layer in stages.model.layers] == [False, False, False, True]


def test_a_model_that_is_never_divided(stages):
    stages.model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(NoCutError, match="runs eagerly"):
        FitCuts(CutPlan(), stages.model, [])
