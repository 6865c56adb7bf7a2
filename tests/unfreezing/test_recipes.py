import keras
import pytest

from kerasft.stages.find import find_stages
from kerasft.unfreezing.recipes import RECIPES, equal_parts
from kerasft.unfreezing.schedule import UnfreezingSchedule, schedule_of


@pytest.fixture
def stages():
    """Six stages: five of a body and a head."""
    layers = [keras.layers.Dense(2, name=name) for name in ("a", "b", "c", "d", "e", "top")]
    return find_stages(keras.Sequential([keras.Input((2,)), *layers]))


def phases(schedule):
    return [(phase.depth, phase.epochs) for phase in schedule]


def test_a_frozen_head_trains_the_last_stage_alone(stages):
    assert phases(schedule_of("frozen_head", stages, 0, 5, 1e-3)) == [(5, None)]


def test_the_head_has_one_epoch_before_all_from_the_depth_on(stages):
    assert phases(schedule_of("head_then_all", stages, 2, 5, 1e-3)) == [(5, 1), (2, None)]


@pytest.mark.parametrize(
    ("depth", "epochs", "expected"),
    [
        (2, 5, [(5, 1), (4, 1), (3, 1), (2, None)]),  # three steps, an epoch each, the rest at the depth
        (2, 8, [(5, 2), (4, 2), (3, 2), (2, None)]),
        (1, 3, [(5, 1), (3, 1), (1, None)]),  # two steps of two stages
        (0, 2, [(5, 1), (0, None)]),
        (4, 9, [(5, 4), (4, None)]),
    ],
)
def test_stages_thaw_in_equal_steps_that_fit_into_the_epochs(stages, depth, epochs, expected):
    assert phases(schedule_of("one_stage_at_a_time", stages, depth, epochs, 1e-3)) == expected


def test_fine_tuning_after_a_probe_has_a_tenth_of_its_rate(stages):
    schedule = schedule_of("linear_probe_then_finetune", stages, "c", 5, 1e-2)
    assert phases(schedule) == [(5, 2), (2, None)]
    assert [phase.learning_rate for phase in schedule] == [None, pytest.approx(1e-3)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("depth", range(6))
@pytest.mark.parametrize("epochs", range(1, 12))
def test_every_phase_is_reached_and_the_depth_comes_last(stages, recipe, depth, epochs):
    schedule = schedule_of(recipe, stages, depth, epochs, 1e-3)
    depths = schedule.check(stages, epochs)  # raises for a phase that no epoch reaches
    assert depths[-1] == (5 if recipe == "frozen_head" else depth)
    assert depths == sorted(depths, reverse=True)


def test_what_does_not_exist_is_named(stages):
    with pytest.raises(ValueError, match=r"No recipe is named 'all'\. There are \['frozen_head', "):
        schedule_of("all", stages, 0, 5, 1e-3)
    with pytest.raises(ValueError, match="No stage is named 'z'"):
        schedule_of("head_then_all", stages, "z", 5, 1e-3)
    with pytest.raises(ValueError, match="leaves nothing to train"):
        schedule_of("head_then_all", stages, 6, 5, 1e-3)


def test_a_name_means_one_thing(stages):
    """A schedule of a name goes down to depth 0 by the same phases as the search's recipe."""
    build = UnfreezingSchedule
    assert build.head_then_all(stages) == schedule_of("head_then_all", stages, 0, 5, None)
    assert build.one_stage_at_a_time(stages, 2) == schedule_of("one_stage_at_a_time", stages, 0, 12, None)
    probe = build.linear_probe_then_finetune(stages, 3, 1e-4, patience=None, monitor=None)
    assert probe == schedule_of("linear_probe_then_finetune", stages, 0, 6, 1e-3)


def test_equal_parts_of_a_model(image_model):
    stages = find_stages(image_model)
    parts = equal_parts(stages, (2, 1, 1))
    assert [(p.depth, p.epochs) for p in parts] == [("head", 2), ("block_2", 1), ("block_1", 1)]
    assert [p.depth for p in equal_parts(stages, (1,))] == ["head"]
    assert [p.learning_rate for p in equal_parts(stages, (1, 1), 1e-4)] == [None, 1e-4]
    tower = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="a")], name="one")
    other = keras.models.clone_model(tower)
    other.name = "two"
    twice = find_stages(keras.Sequential([keras.Input((2,)), tower, other]))
    assert [p.depth for p in equal_parts(twice, (1, 1, 1))] == ["a_2", 0]  # `a` is a layer of both
