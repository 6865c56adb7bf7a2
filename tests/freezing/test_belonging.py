"""Which layers belong to the frozen part, by a rule that is written out here for each kind of model."""

import keras
import pytest

from kerasft.freezing import frozen_part

layers = keras.layers


def names(model, *frozen):
    """The names of random layers in the frozen part, if the layers of these names are frozen."""
    every = [x for x in model._flatten_layers() if x.name in frozen]
    assert len(every) == len(frozen)
    found = {x.name for x in frozen_part(model, every)}
    return {name for name in found if "flip" in name or "drop" in name}


def flat():
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            layers.RandomFlip(name="flip"),
            layers.GaussianNoise(0.1, name="first_drop"),
            layers.Dense(4, name="a"),
            layers.Dropout(0.5, name="inner_drop"),
            layers.Dense(4, name="b"),
            layers.Dropout(0.5, name="head_drop"),
            layers.Dense(1, name="head"),
        ]
    )


def test_in_a_flat_model_only_what_stands_between_frozen_layers():
    model = flat()
    assert names(model) == set()
    assert names(model, "a") == {"first_drop"}
    assert names(model, "a", "b") == {"first_drop", "inner_drop"}
    assert names(model, "b") == set()  # a layer that trains comes before it
    assert names(model, "a", "b", "head") == {"first_drop", "inner_drop", "head_drop"}


class Grit(layers.Layer):
    """Adds noise of a shape that it is given, batch first."""

    def __init__(self, *shape, **options):
        super().__init__(**options)
        self.shape, self.grains = shape, keras.random.SeedGenerator(1)

    def call(self, x, training=None):
        if not training:
            return x
        return x + keras.random.normal((keras.ops.shape(x)[0], *self.shape), seed=self.grains)


@pytest.mark.parametrize(
    ("layer", "is_noise"),
    [
        (lambda: layers.Dropout(0.5, name="drop"), True),
        (lambda: layers.AlphaDropout(0.5, name="drop"), True),
        (lambda: Grit(4, 4, 3, name="drop"), True),  # a number for each element
        (lambda: Grit(1, 1, 1, name="drop"), False),  # brightness: one for each sample
        (lambda: layers.RandomErasing(name="drop"), False),  # fills places that it draws as well
        (lambda: layers.RandomBrightness(0.2, name="drop"), False),
    ],
)
def test_noise_before_all_weights_belongs_and_augmentation_does_not(layer, is_noise):
    first = [keras.Input((4, 4, 3)), layer(), layers.Dense(2, name="a")]
    model = keras.Sequential([*first, layers.Dense(1, name="head")])
    assert names(model, "a") == ({"drop"} if is_noise else set())


def test_a_nested_model_that_is_frozen_keeps_its_last_dropout():
    inner = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="a"),
            layers.Dropout(0.5, name="mid_drop"),
            layers.Dense(4, name="b"),
            layers.Dropout(0.5, name="last_drop"),
        ]
    )
    x = inputs = keras.Input((3,))
    x = layers.Dropout(0.5, name="head_drop")(inner(x))
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    assert names(model, "a", "b") == {"mid_drop", "last_drop"}
    assert names(model, "a") == set()
    assert names(model, "a", "b", "head") == {"mid_drop", "last_drop", "head_drop"}


def test_of_branches_each_has_its_own():
    left, right = keras.Input((3,)), keras.Input((3,))
    x = layers.Dropout(0.5, name="left_drop")(layers.Dense(4, name="left")(left))
    x = layers.Dropout(0.5, name="upper_drop")(layers.Dense(4, name="left_2")(x))
    y = layers.Dropout(0.5, name="right_drop")(layers.Dense(4, name="right")(right))
    both = layers.Concatenate()([x, y])
    model = keras.Model(
        [left, right], layers.Dense(1, name="head")(layers.Dropout(0.5, name="end_drop")(both))
    )
    assert names(model, "left", "left_2", "right") == {"left_drop"}
    assert names(model, "left", "right") == set()
    assert names(model, "left", "left_2") == {"left_drop"}


def test_a_layer_that_is_called_in_the_head_as_well_does_not_belong():
    drop, inputs = layers.Dropout(0.5, name="shared_drop"), keras.Input((3,))
    x = layers.Dense(4, name="b")(drop(layers.Dense(4, name="a")(inputs)))
    model = keras.Model(inputs, layers.Dense(1, name="head")(drop(x)))
    assert names(model, "a", "b") == set()
    assert names(model, "a", "b", "head") == {"shared_drop"}


def test_statistics_of_the_data_are_no_weights_that_train():
    x = inputs = keras.Input((4, 4, 3))
    norm = layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3, name="norm")
    x = layers.RandomFlip(name="flip")(norm(x))
    x = layers.Dense(2, name="b")(layers.Dropout(0.5, name="mid_drop")(layers.Dense(2, name="a")(x)))
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    assert names(model, "a", "b") == {"mid_drop"}


@keras.saving.register_keras_serializable("test_belonging")
class Block(layers.Layer):
    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.dense = layers.Dense(3, name=f"{name}_dense")
        self.drop = layers.Dropout(0.5, name=f"{name}_drop")

    def call(self, x):
        return self.drop(self.dense(x))


def test_a_composite_layer_holds_its_own():
    x = inputs = keras.Input((3,))
    x = Block("two")(Block("one")(x))
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    assert names(model, "one_dense") == {"one_drop"}
    assert names(model, "one_dense", "two_dense") == {"one_drop", "two_drop"}
    assert names(model, "two_dense") == {"two_drop"}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.drop, self.two = Block("one"), layers.Dropout(0.5, name="own_drop"), Block("two")
        self.head = layers.Dense(1, name="head")

    def call(self, x):
        return self.head(self.two(self.drop(self.one(x))))


def test_a_subclassed_model_tells_only_of_what_its_layers_hold():
    model = Subclassed()
    model(keras.ops.ones((1, 3)))
    assert names(model, "one_dense", "two_dense") == {"one_drop", "two_drop"}
    assert names(model, "one_dense", "two_dense", "head") == {"one_drop", "two_drop", "own_drop"}


def test_stochastic_depth_belongs_to_its_residual_unit():
    inputs = x = keras.Input((4,))
    x = layers.Dense(4, name="stem")(x)
    y = layers.Dropout(0.2, noise_shape=(None, 1), name="unit_drop")(layers.Dense(4, name="a")(x))
    x = layers.Dropout(0.2, name="head_drop")(layers.Add()([y, x]))
    x = layers.Multiply()([x, layers.Activation("sigmoid")(x)])  # a skip that begins at the dropout
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    assert names(model, "stem", "a") == {"unit_drop"}
    assert names(model, "stem") == set() == names(model, "a")
