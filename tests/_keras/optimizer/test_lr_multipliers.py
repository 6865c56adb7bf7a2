"""Optimizers × options: each variable steps as the plain optimizer alone would, at its own rate."""

import keras
import numpy as np
import optimizer_cases as cases
import pytest
import tensorflow as tf


def tensors(gradients, option):
    """Gradients as the model would give them: scaled with the loss, or sparse."""
    made = {n: tf.constant(g) * (8.0 if option == "loss_scale" else 1.0) for n, g in gradients.items()}
    if option == "sparse":
        for name in ("slow", "fast", "still"):
            rows = tf.constant([0, 2])
            made[name] = tf.IndexedSlices(tf.gather(made[name], rows), rows, tf.constant([3, 2]))
    return made


def alone(name, option, variable):
    """The plain optimizer for one variable."""
    options = dict(cases.OPTIONS[option])
    options.pop("global_clipnorm", None)
    late = variable == "slow"
    if option == "unscaled_decay" and late:
        options["weight_decay"] /= cases.FACTOR  # so that decay times rate is that of the base rate
    optimizer = cases.OPTIMIZERS[name](cases.RATE * (cases.FACTOR if late else 1.0), **options)
    if option == "excluded_from_decay" and late:
        optimizer.exclude_from_weight_decay(var_names=["slow"])
    if option == "loss_scale":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
    return optimizer


@pytest.mark.parametrize("option", cases.OPTIONS)
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_each_variable_steps_as_if_alone(name, option):
    if name == "Muon" and option == "sparse":
        pytest.skip("Keras's Muon takes no sparse gradients")
    if name == "Muon" and option == "unscaled_decay":
        pytest.skip("Muon has a second decay, for vectors")
    mine, theirs = cases.variables(), cases.variables()
    optimizer = cases.with_factors(name, option)
    optimizer.build(list(mine.values()))
    others = {n: alone(name, option, n) for n in ("slow", "fast", "offset")}
    for n, other in others.items():
        other.build([theirs[n]])
    wrap = tf.function(jit_compile=True) if option == "jit" else lambda function: function
    head = [mine[n] for n in cases.NAMES if n != "slow"]
    apply = {
        False: wrap(lambda given: optimizer.apply(given, head)),
        True: wrap(lambda given: optimizer.apply(given, list(mine.values()))),
    }
    for step in range(cases.STEPS):
        thawed = step >= cases.THAW
        names = [n for n in cases.NAMES if thawed or n != "slow"]
        given = tensors(cases.gradients(step), option)
        if option == "rate_changes":
            optimizer.learning_rate = cases.rate_at(option, step)
        apply[thawed]([given[n] for n in names])
        if option == "global_clipnorm":
            clipped, _ = tf.clip_by_global_norm([given[n] for n in names], 0.5)
            given = dict(zip(names, clipped))
        for n, other in others.items():
            if n in names:
                scale = cases.FACTOR if n == "slow" else 1.0
                other.learning_rate = cases.rate_at(option, step) * scale
                other.apply([given[n]], [theirs[n]])
        for n in cases.NAMES:
            np.testing.assert_allclose(mine[n], theirs[n], rtol=2e-6, atol=2e-7, err_msg=f"{n}, {step}")
    if option.startswith("ema"):
        optimizer.finalize_variable_values(list(mine.values()))
        for n, other in others.items():
            other.finalize_variable_values([theirs[n]])
            np.testing.assert_allclose(mine[n], theirs[n], rtol=2e-6, atol=2e-7)
    start = cases.variables()
    assert np.array_equal(mine["still"], start["still"])
    assert all(not np.allclose(mine[n], start[n], rtol=1e-4) for n in ("slow", "fast", "offset"))


def test_keras_still_has_the_names_of_optimizers(dense_model):
    optimizer = keras.optimizers.Adam()
    optimizer.build(dense_model.trainable_variables)
    for name in (
        "_trainable_variables", "_trainable_variables_indices", "_variables", "_iterations", "_learning_rate",
        "_get_variable_index", "_untrack_variable", "_backend_update_step", "_apply_weight_decay",
        "_overwrite_model_variables_with_average_value", "_update_model_variables_moving_average",
        "_backend_apply_gradients", "_clip_gradients", "_get_current_learning_rate", "_use_weight_decay",
        "_var_key", "_tracker", "_distribution_strategy", "_momentums", "_velocities",
    ):  # fmt: skip
        assert hasattr(optimizer, name), f"Keras moved {name}; kerasft/_keras/optimizer/ needs it"
    averaged = keras.optimizers.SGD(use_ema=True, gradient_accumulation_steps=2)
    averaged.exclude_from_weight_decay(var_list=dense_model.weights[:1], var_names=["bias"])
    averaged.build(dense_model.trainable_variables)
    assert len(averaged._model_variables_moving_average) == len(averaged._accumulated_gradients) == 6
    assert len(averaged._exclude_from_weight_decay) == 1
    assert averaged._exclude_from_weight_decay_pattern.pattern == "bias"
    averaged._backend_reset_gradient_accumulators()
    nadam = keras.optimizers.Nadam()
    nadam.build(dense_model.trainable_variables)
    assert float(nadam._u_product) == 1.0
