"""State in files: of plain Keras, and of a model that was saved half frozen."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft._keras.optimizer.lr_multipliers import add_step_counts


def test_what_plain_keras_has_saved_is_loaded(dense_model, tmp_path):
    """Weights of a model that trained without kerasft, into one that trains with it."""
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    other = keras.models.clone_model(dense_model)
    other.compile(keras.optimizers.Adam(0.01), "mse")
    other.fit(x, y, epochs=3, verbose=0)
    other.save_weights(tmp_path / "plain.weights.h5")
    optimizer = add_step_counts(keras.optimizers.Adam(0.01))
    dense_model.compile(optimizer, "mse")
    optimizer.build(dense_model.trainable_variables)
    dense_model.load_weights(tmp_path / "plain.weights.h5")
    assert optimizer._variable_steps.numpy().tolist() == [3] * 6
    for model in (dense_model, other):
        model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(dense_model.weights, other.weights):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_model_saved_half_frozen_finds_its_optimizer_state(dense_model, tmp_path):
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    dense_model.compile(keras.optimizers.Adam(0.01), "mse")
    schedule = [kerasft.Phase(0, 1), kerasft.Phase("top")]
    dense_model.fit(x, y, epochs=2, verbose=0, callbacks=[kerasft.GradualUnfreezing(schedule)])
    dense_model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 2
    index = loaded.optimizer._get_variable_index(loaded.get_layer("top").kernel)
    mine = dense_model.optimizer._get_variable_index(dense_model.get_layer("top").kernel)
    np.testing.assert_array_equal(loaded.optimizer._momentums[index], dense_model.optimizer._momentums[mine])
    assert int(loaded.optimizer._variable_steps.numpy()[index]) == 2


def trained(names, units=(4, 4, 4), seed=0):
    """A model of layers with these names that has taken three steps."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(width, name=name) for name, width in zip(names, units, strict=True)]
    model = keras.Sequential([keras.Input((4,)), *layers], name=names[0] + "_net")
    model.compile(add_step_counts(keras.optimizers.Adam(0.01)), "mse")
    model.optimizer.build(model.trainable_variables)
    for _ in range(3):
        model.optimizer.apply([keras.ops.convert_to_tensor(v) for v in model.trainable_variables])
    return model


@pytest.mark.parametrize("names", [("x", "y", "z"), ("b", "c", "d")], ids=["other", "counted up"])
def test_a_model_that_is_built_again_finds_its_state_by_order(tmp_path, names):
    """As in a notebook, where Keras has counted its names up: two names of three then mean other layers."""
    first = trained(("a", "b", "c"))
    first.save_weights(tmp_path / "a.weights.h5")
    again = trained(names, seed=1)
    again.load_weights(tmp_path / "a.weights.h5")
    for one, other in zip(first.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    kept = first.optimizer.snapshot(first.trainable_variables[2:])
    fresh = trained(names, seed=2).optimizer
    fresh.restore(kept, fresh._trainable_variables[2:])
    np.testing.assert_array_equal(fresh._velocities[2], first.optimizer._velocities[2])
    assert np.abs(fresh._velocities[0] - first.optimizer._velocities[0]).max() > 0


def test_state_of_other_variables_is_said_to_be_left_out(tmp_path):
    first, other = trained(("a", "b", "c")).optimizer, trained(("x", "y", "z"), (5, 4, 4)).optimizer
    store = {}
    first.save_own_variables(store)
    before = [v.numpy() for v in other._velocities]
    with pytest.warns(UserWarning, match="that of other variables: none of .*x.kernel"):
        other.load_own_variables(store)
    for slot, was in zip(other._velocities, before, strict=True):
        np.testing.assert_array_equal(slot, was)


@keras.saving.register_keras_serializable("tests")
class Tower(keras.Model):
    """A model whose layers get automatic names, new ones each time that it is made or loaded."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.body, self.top = keras.layers.Dense(4), keras.layers.Dense(3)

    def call(self, x):
        return self.top(self.body(x))


def test_factors_and_exclusions_follow_a_model_whose_layers_are_named_anew(tmp_path):
    model, x = Tower(), np.ones((8, 4), "float32")
    model(x)
    body, top = model.body.kernel.path, model.top.bias.path
    optimizer = keras.optimizers.AdamW(0.01)
    optimizer.exclude_from_weight_decay([model.top.kernel])
    factors = kerasft.learning_rates.Multipliers({body: 0.5, top: 0.0})
    model.compile(kerasft.with_lr_multipliers(optimizer, factors), "mse")
    model.fit(x, np.zeros((8, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.body.kernel.path != body
    for one in (model, loaded):
        rates = [one.optimizer.rate_of(v) for v in one.trainable_variables]
        np.testing.assert_allclose(rates, [0.005, 0.01, 0.01, 0.0], rtol=1e-6)
        decays = [one.optimizer.decay_of(v) > 0 for v in one.trainable_variables]
        assert decays == [True, True, False, False]
    for one, other in zip(loaded.optimizer._velocities, model.optimizer._velocities, strict=True):
        np.testing.assert_array_equal(one, other)
