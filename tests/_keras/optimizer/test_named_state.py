"""State in files: of plain Keras, and of a model that was saved half frozen."""

import keras
import numpy as np

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
