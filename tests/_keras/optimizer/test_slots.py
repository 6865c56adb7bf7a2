"""All that an optimizer holds."""

import keras

from kerasft._keras.optimizer.slots import optimizer_variables, slots_and_scalars


def test_slots_are_aligned_with_variables_and_scalars_are_not(dense_model):
    optimizer = keras.optimizers.Adam()
    optimizer.build(dense_model.trainable_variables)
    slots, scalars = slots_and_scalars(optimizer)
    assert set(slots) == {"_momentums", "_velocities"}
    for entries in slots.values():
        assert [v.shape for v in entries] == [v.shape for v in dense_model.trainable_variables]
    assert {"_iterations", "_learning_rate"} <= set(scalars)


def test_variables_around_and_inside_a_loss_scale_are_listed_once(dense_model):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    optimizer.build(dense_model.trainable_variables)
    listed = optimizer_variables(optimizer)
    assert len({id(v) for v in listed}) == len(listed)
    wanted = [*optimizer.inner_optimizer._velocities, optimizer.dynamic_scale, optimizer.step_counter]
    assert {id(v) for v in wanted} <= {id(v) for v in listed}
