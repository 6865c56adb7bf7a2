"""The seam with Keras: each private name that kerasft uses is pinned here."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras


def test_keras_still_has_the_names_that_trainer_uses(dense_model):
    assert isinstance(dense_model._layers, list)
    assert hasattr(dense_model, "_functional")
    layer = dense_model.layers[0]
    assert layer._trainable_variables == [layer.kernel, layer.bias]
    assert layer._non_trainable_variables == []
    optimizer = keras.optimizers.Adam()
    optimizer.build(dense_model.trainable_variables)
    for name in (
        "_trainable_variables", "_trainable_variables_indices", "_variables", "_iterations", "_learning_rate",
        "_get_variable_index", "_untrack_variable", "_backend_update_step", "_apply_weight_decay",
        "_overwrite_model_variables_with_average_value", "_update_model_variables_moving_average",
        "_backend_apply_gradients", "_clip_gradients", "_get_current_learning_rate", "_use_weight_decay",
        "_var_key", "_tracker", "_distribution_strategy", "_momentums", "_velocities",
    ):  # fmt: skip
        assert hasattr(optimizer, name), f"Keras moved {name}; kerasft/_keras.py needs it"
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
    assert dense_model._initial_epoch is None and dense_model.steps_per_execution == 1
    dense_model.compile(optimizer, "mse")
    assert dense_model.train_function is None
    dense_model.make_train_function(force=True)
    assert callable(dense_model.train_function)


def test_sublayers_come_once_parents_first(image_model):
    layers = list(_keras.sublayers(image_model))
    assert layers[0] is image_model
    assert len({id(layer) for layer in layers}) == len(layers)
    names = [layer.name for layer in layers]
    assert names.index("backbone") < names.index("stem_conv")
    assert {id(v) for layer in layers for v in _keras.own_variables(layer)} == {
        id(v) for v in image_model.weights
    }


def test_calls_are_in_order_and_none_for_subclassed_models(dense_model):
    made = set()
    for call in _keras.calls(dense_model):
        assert all(id(t) in made for t in call.inputs)
        made |= {id(t) for t in call.outputs}

    class Own(keras.Model):
        pass

    assert _keras.calls(Own()) is None


def test_safe_mode_is_on_unless_it_is_switched_off():
    assert _keras.in_safe_mode()


def step(optimizer, variables, seed):
    rng = np.random.default_rng(seed)
    optimizer.apply(
        [keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables],
        variables,
    )


@pytest.mark.parametrize("make", [keras.optimizers.Adam, lambda r: keras.optimizers.SGD(r, momentum=0.9)])
def test_an_extended_optimizer_keeps_its_state(make):
    """Extending in mid-training changes nothing for the variables that it knew."""
    one = [keras.Variable(np.ones((2, 2)), name=n, dtype="float32") for n in ("a", "b")]
    two = [keras.Variable(np.ones((2, 2)), name=n, dtype="float32") for n in ("a", "b")]
    plain, extended = make(0.1), make(0.1)
    plain.build(one[1:])
    extended.build(two[1:])
    for seed in range(5):
        step(plain, one[1:], seed)
        step(extended, two[1:], seed)
    _keras.extend_optimizer(extended, two)
    assert int(extended.iterations) == 5
    for seed in range(5, 8):
        step(plain, one[1:], seed)
        step(extended, two[1:], seed)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-6)
    assert np.array_equal(two[0], np.ones((2, 2)))
    fresh, reference = make(0.1), keras.Variable(np.ones((2, 2)), dtype="float32")
    fresh.build([reference])
    step(fresh, [reference], 9)
    step(extended, two[:1], 9)
    np.testing.assert_allclose(two[0], reference, rtol=1e-6)


def test_loss_scaling_is_looked_through(dense_model):
    outer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    assert _keras.inner_optimizer(outer) is outer.inner_optimizer
    outer.build(dense_model.trainable_variables[2:])
    _keras.extend_optimizer(outer, dense_model.trainable_variables)
    assert isinstance(outer.inner_optimizer, _keras.LrMultipliers)
    step(outer, dense_model.trainable_variables, 0)
    assert int(outer.inner_optimizer.iterations) == 1


def test_a_running_fit_is_found_and_its_data_can_be_replayed(dense_model):
    dense_model.compile("sgd", "mse")
    assert _keras.running_fit(dense_model) is None
    assert not _keras.replay_epochs(dense_model, 1)
    passes = []

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.ones((4, 4)), np.ones((4, 3))

        def on_epoch_end(self):
            passes.append(1)

    class Probe(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            fit = _keras.running_fit(dense_model)
            assert any(callback is self for callback in fit.callbacks)
            before = len(passes)
            assert _keras.replay_epochs(dense_model, 3) and _keras.replay_epochs(dense_model, 3)
            assert len(passes) - before == 3  # once, although it was asked twice
            _keras.start_at(dense_model, 3)

    history = dense_model.fit(Data(), epochs=5, verbose=0, shuffle=False, callbacks=[Probe()])
    assert history.epoch == [3, 4]
    assert int(dense_model.optimizer.iterations) == 4  # the replayed epochs have trained nothing
    _keras.start_at(dense_model, None)
    assert dense_model.fit(Data(), verbose=0, shuffle=False).epoch == [0]


def test_the_description_of_an_optimizer_has_everything_that_stays_as_it_is():
    plain = _keras.description(keras.optimizers.Adam(0.1, beta_1=0.8))
    assert plain["class"] == "Adam" and plain["beta_1"] == 0.8
    assert "learning_rate" not in plain and "name" not in plain
    assert _keras.description(_keras.add_step_counts(keras.optimizers.Adam(0.3, beta_1=0.8))) == plain
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert _keras.description(keras.optimizers.Adam(schedule))["learning_rate"]["class_name"] == "CosineDecay"


def test_random_states_come_back():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    model.compile("sgd", "mse")
    state = _keras.random_state(model)
    x = np.ones((64, 4), "float32")
    first = model(x, training=True).numpy()
    assert not np.array_equal(first, model(x, training=True))
    _keras.set_random_state(model, state)
    assert np.array_equal(first, model(x, training=True))


def test_a_schedule_can_be_replaced_for_a_while(dense_model):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    dense_model.compile(keras.optimizers.Adam(schedule), "mse")
    dense_model.optimizer.build(dense_model.trainable_variables)
    before = len(dense_model.optimizer.variables)
    with _keras.settable_rate(dense_model) as optimizer:
        optimizer.learning_rate = 0.5
        assert float(optimizer.learning_rate) == 0.5
    assert dense_model.optimizer._learning_rate is schedule
    assert len(dense_model.optimizer.variables) == before
    assert float(dense_model.optimizer.learning_rate) == pytest.approx(0.1)


def test_what_plain_keras_has_saved_is_loaded(dense_model, tmp_path):
    """Weights of a model that trained without kerasft, into one that trains with it."""
    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    other = keras.models.clone_model(dense_model)
    other.compile(keras.optimizers.Adam(0.01), "mse")
    other.fit(x, y, epochs=3, verbose=0)
    other.save_weights(tmp_path / "plain.weights.h5")
    optimizer = _keras.add_step_counts(keras.optimizers.Adam(0.01))
    dense_model.compile(optimizer, "mse")
    optimizer.build(dense_model.trainable_variables)
    dense_model.load_weights(tmp_path / "plain.weights.h5")
    assert optimizer._variable_steps.numpy().tolist() == [3] * 6
    for model in (dense_model, other):
        model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(dense_model.weights, other.weights):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_state_that_cannot_follow_a_thaw_is_refused(dense_model):
    class Odd(keras.optimizers.SGD):
        """Keeps a slot in a dict."""

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.odd = {"slot": self.add_variable_from_reference(variables[0], "odd")}

    optimizer = Odd(0.1)
    optimizer.build(dense_model.trainable_variables[4:])
    with pytest.raises(ValueError, match="Odd keeps 1 variables outside"):
        _keras.extend_optimizer(optimizer, dense_model.trainable_variables)


def test_learning_rate_is_settable():
    assert _keras.learning_rate_is_settable(keras.optimizers.Adam(0.1))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert not _keras.learning_rate_is_settable(keras.optimizers.Adam(schedule))


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


# --- what PrefixCache stands on


def test_keras_keeps_what_a_program_is_made_of(image_model):
    program = _keras.program(image_model)
    names = [o.layer.name for o in program.operations if o.layer is not None]
    assert names[0] == "rescaling" or names[0].startswith("rescaling")
    assert "stem_conv" in names and "logits" in names and "backbone" not in names
    assert sum(o.layer is None for o in program.operations) == 1  # the way into the nested model
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    values = program.enter(x)
    program.run(program.operations, values, training=False)
    np.testing.assert_array_equal(program.leave(values), image_model(x))
    assert program.signature == tf.TensorSpec((None, 8, 8, 3))


def test_a_model_with_a_call_of_its_own_is_no_program():
    class Own(keras.Model):
        def call(self, x):
            return x

    inputs = keras.Input((3,))
    assert _keras.program(Own(inputs, keras.layers.Dense(2)(inputs))) is None
    inner = Own(inputs, keras.layers.Dense(2)(inputs))
    inputs = keras.Input((3,))
    program = _keras.program(keras.Model(inputs, inner(inputs)))
    assert [o.layer for o in program.operations] == [inner]  # not opened


def test_losses_of_a_part_are_those_of_its_last_call(dense_model):
    layer = keras.layers.ActivityRegularization(l2=1.0)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    program = _keras.program(model)
    for _ in range(2):
        values = program.enter(np.ones((1, 2), "float32"))
        program.run(program.operations, values, training=True)
        assert len(model.losses) == 1 and _keras.has_losses(layer)
    assert not _keras.has_losses(model.layers[1])


def test_random_generators_and_impure_operations_are_found():
    dropout, dense = keras.layers.Dropout(0.5), keras.layers.Dense(2)
    dense.build((None, 2))
    assert len(_keras.random_variables(dropout)) == 1 and not _keras.random_variables(dense)
    spec = tf.TensorSpec((None, 2))

    def graph(function):
        return tf.function(function, autograph=False).get_concrete_function(spec).graph

    assert _keras.impure_operations(graph(lambda x: dense(x))) == []
    assert _keras.impure_operations(graph(lambda x: dropout(x, training=False))) == []
    assert "AssignVariableOp" in _keras.impure_operations(graph(lambda x: dropout(x, training=True)))
    assert _keras.impure_operations(graph(lambda x: x * tf.random.uniform(()))) == ["RandomUniform"]
    assert _keras.impure_operations(graph(lambda x: tf.py_function(lambda y: y, [x], tf.float32)))
    nested = tf.function(lambda x: x + tf.random.normal(()))
    assert _keras.impure_operations(graph(lambda x: nested(x))) == ["RandomStandardNormal"]


def test_steps_and_methods_that_are_not_kerass(dense_model):
    class Own(keras.Sequential):
        def compute_metrics(self, *args, **kwargs):
            return {}

    assert _keras.overridden_methods(dense_model) == []
    assert _keras.overridden_methods(Own([keras.Input((2,)), keras.layers.Dense(1)])) == ["compute_metrics"]
    dense_model.train_step = lambda data: {}
    assert _keras.overridden_methods(dense_model) == ["train_step"]


def test_a_running_fit_tells_its_arrays_and_their_order(dense_model):
    dense_model.compile(loss="mse")
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            fit = _keras.running_fit(self.model)
            found = (_keras.reads_arrays(fit.epoch_iterator), _keras.keeps_order(fit.epoch_iterator))
            seen.append((*found, fit.first_epoch))

        def on_test_begin(self, logs=None):
            seen.append(_keras.reads_arrays(_keras.validation_iterator(self.model)))

    x, y = np.zeros((2, 4), "float32"), np.zeros((2, 3), "float32")
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    options = {"verbose": 0, "callbacks": [Look()], "epochs": 2, "initial_epoch": 1}
    dense_model.fit(x, y, **options)
    dense_model.fit(x, y, shuffle=False, validation_data=rows, **options)
    dense_model.fit(rows, shuffle=False, **options)
    assert seen == [(True, False, 1), (True, True, 1), False, (False, False, 1)]
    assert _keras.validation_iterator(dense_model) is None


def test_which_layers_are_told_whether_the_model_trains():
    told = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.1), keras.Sequential()]
    assert all(_keras.takes_training(layer) for layer in told)
    assert not any(_keras.takes_training(layer) for layer in (keras.layers.Conv2D(1, 1), keras.layers.ReLU()))


def test_a_training_step_is_let_go_of_when_its_block_ends():
    """TensorFlow keeps it, and the weights with it: `ReplicaContext.all_reduce` enters it into a table."""

    def fitted():
        graphs = []

        class Noting(keras.layers.Layer):
            def call(self, x):
                graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
                return keras.ops.silu(x)  # whose gradient is in the table as well

        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), Noting(), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        return model, graphs[-1]

    def gone(reference):
        gc.collect()
        return reference() is None

    model, kept = fitted()
    del model
    assert not gone(kept)  # if it is, TensorFlow has mended this, and `release_traced_steps` can go
    with _keras.release_traced_steps():
        model, dropped = fitted()
    before = model.get_weights()
    model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)  # it still trains, by the step that was traced
    assert not np.array_equal(before[0], model.get_weights()[0])
    with _keras.release_traced_steps():
        model.compile("sgd", "mse")  # and by a new one
        model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)
    del model
    assert gone(dropped) and not gone(kept)
