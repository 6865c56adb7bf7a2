import math

import keras
import keras_tuner
import numpy as np
import pytest

from kerasft.search import space as space_module
from kerasft.search.space import Choice, SearchSpace, head_dropouts
from kerasft.stages.find import find_stages
from kerasft.unfreezing.recipes import RECIPES

THAWING = [r for r in RECIPES if r != "frozen_head"]


def space(**given):
    """A space in which nothing is searched but what is given."""
    names = ("depths", "recipes", "learning_rate", "layerwise_decay", "weight_decay", "dropout")
    return SearchSpace(**{**dict.fromkeys(names), **given})


@pytest.fixture
def model():
    """Four stages with a dropout in the body, one in the head, and one there that is switched off."""
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(2, name="a"),
            layers.Dense(2, name="b"),
            layers.Dropout(0.1, name="within"),
            layers.Dense(2, name="c"),
            layers.Dropout(0.2, name="after"),
            layers.Dropout(0.0, name="off"),
            layers.Dense(2, name="top"),
        ],
        name="net",
    )
    net.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.004), "mse")
    return net


def choose(model, given, **values):
    """What a trial with `values` chooses, and its hyperparameters by name."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    choice = given.choose(hp, model, find_stages(model))
    return choice, {p.name: p for p in hp.space}


# --- what is given


def test_a_pair_is_a_range_a_list_a_choice_a_number_fixed_and_none_left_alone(model):
    given = space(
        recipes=["head_then_all"], learning_rate=(1e-4, 1e-2), layerwise_decay=[0.7, 1], dropout=0.3
    )
    choice, asked = choose(model, given, learning_rate=2e-3, layerwise_decay=1.0)
    assert list(asked) == ["freeze_depth", "layerwise_decay", "learning_rate"]
    rate = asked["learning_rate"]
    assert (rate.min_value, rate.max_value, rate.sampling) == (1e-4, 1e-2, "log")
    assert list(asked["layerwise_decay"].values) == [0.7, 1.0]
    assert choice == Choice("head_then_all", 0, 2e-3, 1.0, None, 0.3)
    assert choice.to_dict() == {
        "recipe": "head_then_all",
        "freeze_depth": 0,
        "learning_rate": 2e-3,
        "layerwise_decay": 1.0,
        "head_dropout": 0.3,
    }


def test_a_range_from_zero_can_not_be_logarithmic(model):
    _, asked = choose(model, space(weight_decay=(0, 0.01), dropout=(0.0, 0.5)))
    assert asked["weight_decay"].sampling == asked["head_dropout"].sampling == "linear"
    _, asked = choose(model, space(weight_decay=(1e-6, 0.01)))
    assert asked["weight_decay"].sampling == "log"


def test_a_single_value_is_no_choice(model):
    given = space(recipes=["head_then_all"], depths=["b"], learning_rate=[0.1])
    choice, asked = choose(model, given)
    assert asked == {} and choice == Choice("head_then_all", 1, 0.1, None, None, None)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"depths": "c"}, TypeError, "depths is a list .* received 'c'"),
        ({"depths": 2}, TypeError, "depths is a list .* received 2"),
        ({"recipes": "frozen_head"}, TypeError, r"Write \['frozen_head'\]"),
        ({"recipes": ["all"]}, ValueError, r"No recipe is named \['all'\]\. There are \['frozen_head', "),
        ({"recipes": []}, ValueError, "at least one entry each"),
        ({"depths": []}, ValueError, "at least one entry each"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate is a number, a pair .* received '0.1'"),
        ({"learning_rate": True}, TypeError, "received True"),
        ({"dropout": [0.1, None]}, TypeError, r"dropout is a number.*received \[0.1, None\]"),
        ({"dropout": object()}, TypeError, "dropout is a number, a pair"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate is a number above 0; received 0.0"),
        ({"learning_rate": -1}, ValueError, "received -1"),
        ({"learning_rate": math.nan}, ValueError, "received nan"),
        ({"learning_rate": math.inf}, ValueError, "received inf"),
        (
            {"layerwise_decay": (0.5, 1.1)},
            ValueError,
            "layerwise_decay is a number above 0 and of at most 1; received 1.1",
        ),
        ({"weight_decay": -1e-3}, ValueError, "weight_decay is a number of at least 0; received -0.001"),
        (
            {"dropout": 1.0},
            ValueError,
            "dropout is a number of at least 0 and of at most 0.999; received 1.0",
        ),
        ({"learning_rate": (1e-2, 1e-4)}, ValueError, "low < high"),
        ({"learning_rate": (1e-2, 1e-2)}, ValueError, "low < high"),
        ({"learning_rate": (1e-4, 1e-3, 1e-2)}, ValueError, "a list holds values"),
        ({"learning_rate": []}, ValueError, "learning_rate is empty"),
    ],
)
def test_what_is_wrong_is_said_at_once(given, error, message):
    with pytest.raises(error, match=message):
        space(**given)


def test_numbers_of_numpy_are_numbers():
    assert space(learning_rate=np.float64(0.5)).learning_rate == 0.5
    assert space(learning_rate=np.float32(0.5)).learning_rate == 0.5
    assert space(dropout=[np.float32(0.5), np.int64(0)]).dropout == [0.5, 0.0]


def test_the_ends_of_a_range_that_are_allowed():
    given = space(layerwise_decay=1, weight_decay=0, dropout=[0.0, 0.999])
    assert given.to_dict() == {
        "depths": None,
        "recipes": list(RECIPES),
        "learning_rate": None,
        "layerwise_decay": 1.0,
        "weight_decay": 0.0,
        "dropout": [0.0, 0.999],
    }


# --- hyperparameters that depend on the recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_depth_and_decay_are_asked_for_where_the_recipe_thaws_and_there_alone(model, recipe):
    hp = keras_tuner.HyperParameters()
    hp.values.update(recipe=recipe, freeze_depth=1, layerwise_decay=0.8)
    choice = space(layerwise_decay=(0.6, 1.0)).choose(hp, model, find_stages(model))
    assert [p.name for p in hp.space] == ["recipe", "freeze_depth", "layerwise_decay"]
    assert list(hp.space[0].values) == list(RECIPES) and list(hp.space[1].values) == [0, 1, 2]
    thaws = recipe != "frozen_head"
    assert [hp.is_active(name) for name in ("freeze_depth", "layerwise_decay")] == [thaws, thaws]
    # a frozen head is depth 3, the last of four stages
    assert (choice.depth, choice.decay) == ((1, 0.8) if thaws else (3, None))


def test_they_are_asked_for_without_condition_where_every_recipe_thaws(model):
    _, asked = choose(model, space(recipes=THAWING, layerwise_decay=(0.6, 1.0)))
    assert asked["freeze_depth"].conditions == asked["layerwise_decay"].conditions == []


def test_a_frozen_head_alone_asks_for_neither_and_has_no_decay(model):
    choice, asked = choose(model, space(recipes=["frozen_head"], layerwise_decay=0.5, learning_rate=0.1))
    assert asked == {} and choice == Choice("frozen_head", 3, 0.1, None, None, None)
    choice, _ = choose(model, space(layerwise_decay=0.5), recipe="frozen_head")
    assert choice.decay is None


# --- depths


def test_depths_are_numbers_or_names_and_all_but_the_heads_by_default(model):
    stages = find_stages(model)
    assert space().depths_of(stages) == [0, 1, 2]
    assert space(depths=["c", 0, "top"]).depths_of(stages) == [2, 0, 3]
    choice, asked = choose(model, space(depths=["c", "a"], recipes=THAWING[:1]), freeze_depth=2)
    assert list(asked["freeze_depth"].values) == [2, 0] and choice.depth == 2


@pytest.mark.parametrize(
    ("depths", "error", "message"),
    [
        ([0, "z"], ValueError, r"No stage is named 'z'\. The stages of 'net' are \['a', 'b', 'c', 'top'\]"),
        ([5], ValueError, "Freeze depth 5 is out of range"),
        ([0.5], TypeError, "an integer or a stage's name, not 0.5"),
        (
            [0, 4],
            ValueError,
            r"Depth 4 freezes all 4 stages of 'net'.*the deepest that trains is 3 \('top'\)",
        ),
    ],
)
def test_a_depth_that_the_model_lacks_or_that_trains_nothing_is_refused(model, depths, error, message):
    with pytest.raises(error, match=message):
        choose(model, space(depths=depths))


def test_a_model_of_one_stage_has_nothing_to_search():
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="small")
    with pytest.raises(ValueError, match="'small' has a single stage.*Put a backbone and a head into it"):
        choose(net, space())


def test_a_build_with_fewer_stages_than_the_first_one_trains_its_head():
    def chain(names):
        layers = [keras.layers.Dense(2, name=name) for name in names]
        return keras.Sequential([keras.Input((2,)), *layers])

    hp = keras_tuner.HyperParameters()
    hp.values["freeze_depth"] = 3
    depths = []
    for net in (chain("abcde"), chain("abe")):
        depths.append(space(recipes=THAWING[:1]).choose(hp, net, find_stages(net)).depth)
    assert depths == [3, 2]


# --- dropout and weight decay


def test_dropout_of_the_head_is_what_comes_after_the_last_weight_of_the_body(model):
    assert [layer.name for layer in head_dropouts(find_stages(model))] == ["after"]


@pytest.mark.parametrize("nested", [False, True])
def test_it_is_found_after_a_nested_backbone_and_in_a_nested_head(nested):
    layers = keras.layers
    inputs = keras.Input((2,))
    x = layers.Dropout(0.1)(layers.Dense(2, name="block_1")(inputs))
    backbone = keras.Model(inputs, layers.Dense(2, name="block_2")(x), name="backbone")
    head = [layers.Dropout(0.2, name="after"), layers.Dense(2, name="top")]
    if nested:
        head = [keras.Sequential([keras.Input((2,)), *head])]
    net = keras.Sequential([keras.Input((2,)), backbone, *head])
    assert [layer.name for layer in head_dropouts(find_stages(net))] == ["after"]


def test_a_rate_is_not_searched_where_no_dropout_is(dense_model):
    choice, asked = choose(dense_model, space(dropout=(0.0, 0.5)))
    assert "head_dropout" not in asked and choice.dropout is None


@pytest.mark.parametrize(
    ("optimizer", "asks"),
    [
        (keras.optimizers.AdamW, True),
        (keras.optimizers.Adam, False),  # it has none, and is not given one
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()), True),
    ],
)
def test_weight_decay_is_for_optimizers_that_have_one(model, optimizer, asks):
    model.compile(optimizer(), "mse")
    choice, asked = choose(model, space(weight_decay=(1e-6, 1e-2)), weight_decay=1e-3)
    assert ("weight_decay" in asked) == asks
    assert choice.weight_decay == (1e-3 if asks else None)


# --- what a trial has chosen is set


def test_rate_weight_decay_and_dropout_are_set_and_nothing_else(model):
    stages = find_stages(model)
    space_module.apply(Choice("head_then_all", 1, 0.25, 0.5, 0.125, 0.4), model, stages)
    assert float(model.optimizer.learning_rate) == 0.25 and model.optimizer.weight_decay == 0.125
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.1, 0.4, 0.0]
    space_module.apply(Choice("head_then_all", 1, None, None, None, None), model, stages)
    assert float(model.optimizer.learning_rate) == 0.25 and model.optimizer.weight_decay == 0.125
    assert rates == [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def test_the_optimizer_within_a_loss_scale_is_meant(model):
    inner = keras.optimizers.AdamW(1e-3)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    space_module.apply(Choice("head_then_all", 1, 0.25, None, 0.125, None), model, find_stages(model))
    assert float(inner.learning_rate) == 0.25 and inner.weight_decay == 0.125


def test_a_model_that_is_not_compiled_gets_the_dropout(model):
    net = keras.models.clone_model(model)
    space_module.apply(Choice("head_then_all", 1, 0.25, None, 0.125, 0.4), net, find_stages(net))
    assert net.get_layer("after").rate == 0.4


def test_a_learning_rate_schedule_is_refused_unless_the_rate_is_left_to_it(model):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model.compile(keras.optimizers.AdamW(schedule), "mse")
    stages = find_stages(model)
    with pytest.raises(ValueError, match=r"LearningRateSchedule.*FreezeDepthSearch\(learning_rate=None\)"):
        space_module.apply(Choice("head_then_all", 1, 0.25, None, None, None), model, stages)
    space_module.apply(Choice("head_then_all", 1, None, None, 0.125, None), model, stages)
    assert model.optimizer.weight_decay == 0.125
