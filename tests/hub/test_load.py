"""load_backbone: staged SavedModels equal the uncut ones, and every failure says why."""

import gc
import logging
import pathlib
import re
import shutil
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import blueprints, load_backbone

IMAGES = np.random.default_rng(5).normal(0, 1, (6, 8, 8, 3)).astype("float32")
SEQUENCES = np.random.default_rng(6).normal(0, 1, (4, 5, 3)).astype("float32")
TOKENS = {
    "input_word_ids": np.array([[1, 2, 3, 4, 0], [5, 10, 7, 0, 0]], "int32"),
    "input_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], "int32"),
    "input_type_ids": np.array([[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]], "int32"),
}


def stage_layers(model):
    return [layer for layer in model.layers if isinstance(layer, HubStage)]


def stage_names(model):
    return [layer.name for layer in stage_layers(model)]


def values(layer):
    return [w.numpy().copy() for w in layer.weights]


def changed(layer, before):
    return any(not np.array_equal(a, b) for a, b in zip(values(layer), before, strict=True))


def gradients_of(call, variables):
    with tf.GradientTape() as tape:
        output = call()
        loss = tf.reduce_sum(tf.square(output + 0.3))
    return tape.gradient(loss, variables)


def assert_equal_to_uncut(model, loaded, pairs, inputs, training):
    given = tf.nest.map_structure(tf.constant, inputs)
    expected = loaded(given, training=training) if training is not None else loaded(given)
    got = model(given, training=bool(training))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6, atol=1e-6)


def assert_gradients_equal(model, loaded, pairs, inputs, training):
    given = tf.nest.map_structure(tf.constant, inputs)
    pairs = [(v, w) for v, w in pairs if w.trainable]
    call = (lambda: loaded(given)) if training is None else (lambda: loaded(given, training=training))
    expected = gradients_of(call, [v for v, _ in pairs])
    got = gradients_of(lambda: model(given, training=bool(training)), [w.value for _, w in pairs])
    assert len(got) > 2
    for e, g in zip(expected, got, strict=True):
        e, g = tf.convert_to_tensor(e).numpy(), tf.convert_to_tensor(g).numpy()
        assert np.abs(e).max() > 0
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5 * np.abs(e).max())


class TestEqualsUncut:
    """Values, gradients and moving statistics of the staged model and of the SavedModel."""

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("name", ["tf_keras", "residual"])
    def test_cnn(self, name, training, saved, tf_keras_cnn, uncut):
        path = tf_keras_cnn if name == "tf_keras" else saved(name)
        model = load_backbone(path, batch_norm="train")
        loaded, pairs = uncut(path, model)
        assert len(stage_layers(model)) >= 4
        assert len(pairs) == (19 if name == "residual" else 21)
        before = [w.numpy() for w in model.non_trainable_weights]
        assert_equal_to_uncut(model, loaded, pairs, IMAGES, training)
        for variable, weight in pairs:
            np.testing.assert_allclose(weight.numpy(), variable.numpy(), rtol=1e-6, atol=1e-7)
        moved = [
            not np.array_equal(a, w.numpy()) for a, w in zip(before, model.non_trainable_weights, strict=True)
        ]
        assert moved == [training] * 6
        assert_gradients_equal(model, loaded, pairs, IMAGES, training)

    def test_training_and_inference_differ(self, saved):
        model = load_backbone(saved("residual"), batch_norm="train")
        assert not np.allclose(model(IMAGES, training=True), model(IMAGES, training=False), atol=1e-3)

    @pytest.mark.parametrize("training", [False, True])
    def test_training_as_a_tensor(self, training, saved, uncut):
        path = saved("residual_tensor_flag")
        model = load_backbone(path, batch_norm="train")
        assert [tuple(t.shape) for t in model.inputs] == [(None, 8, 8, 3)]
        loaded, pairs = uncut(path, model)
        expected = loaded(tf.constant(IMAGES), tf.constant(training))
        np.testing.assert_allclose(model(IMAGES, training=training), expected, rtol=1e-6, atol=1e-6)
        before = load_backbone(path).get_weights()
        for variable, weight in pairs:
            np.testing.assert_allclose(weight.numpy(), variable.numpy(), rtol=1e-6, atol=1e-7)
        moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
        assert sum(moved) == (6 if training else 0)
        other = loaded(tf.constant(IMAGES), tf.constant(not training))
        assert not np.allclose(expected, other, atol=1e-3)

    @pytest.mark.parametrize("name", ["tf_keras", "loop"])
    def test_recurrent(self, name, saved, tf_keras_lstm, uncut):
        path = tf_keras_lstm if name == "tf_keras" else saved("recurrent")
        inputs = SEQUENCES if name == "tf_keras" else np.concatenate([SEQUENCES, SEQUENCES[:, :1]], 1)
        model = load_backbone(path)
        expected = ["lstm_1", "lstm_2", "top"] if name == "tf_keras" else ["embed", "cell", "top"]
        assert stage_names(model) == expected
        loaded, pairs = uncut(path, model)
        training = False if name == "tf_keras" else None
        assert_equal_to_uncut(model, loaded, pairs, inputs, training)
        assert_gradients_equal(model, loaded, pairs, inputs, training)

    def test_encoder(self, saved, uncut):
        path = saved("encoder")
        model = load_backbone(path)
        assert stage_names(model) == ["embeddings", "encoder_layer_0", "encoder_layer_1", "pooler"]
        loaded, pairs = uncut(path, model)
        expected = loaded(tf.nest.map_structure(tf.constant, TOKENS), training=False)
        got = model(TOKENS)
        assert sorted(got) == ["encoder_outputs_0", "encoder_outputs_1", "pooled_output", "sequence_output"]
        for i in (0, 1):
            np.testing.assert_allclose(got[f"encoder_outputs_{i}"], expected["encoder_outputs"][i], atol=1e-6)
        for key in ("pooled_output", "sequence_output"):
            np.testing.assert_allclose(got[key], expected[key], atol=1e-6)
        pooled = load_backbone(path, output="pooled_output")
        assert stage_names(pooled) == stage_names(model)
        np.testing.assert_allclose(pooled(TOKENS), expected["pooled_output"], atol=1e-6)

        def uncut_pooled():
            return loaded(tf.nest.map_structure(tf.constant, TOKENS), training=False)["pooled_output"]

        loaded, pairs = uncut(path, pooled)
        assert len(pairs) == 11
        expected = gradients_of(uncut_pooled, [v for v, _ in pairs])
        got = gradients_of(lambda: pooled(TOKENS), [w.value for _, w in pairs])
        for e, g in zip(expected, got, strict=True):
            e = tf.convert_to_tensor(e).numpy()
            np.testing.assert_allclose(tf.convert_to_tensor(g), e, rtol=1e-5, atol=1e-5 * np.abs(e).max())

    def test_output_before_the_last_stage_leaves_that_stage_out(self, saved, uncut):
        path = saved("encoder")
        model = load_backbone(path, output="sequence_output")
        assert stage_names(model) == ["embeddings", "encoder_layer_0", "encoder_layer_1"]
        loaded, _ = uncut(path, model)
        expected = loaded(tf.nest.map_structure(tf.constant, TOKENS), training=False)["sequence_output"]
        np.testing.assert_allclose(model(TOKENS), expected, atol=1e-6)


class TestStages:
    """Where the graph is cut, and what the stages are called."""

    def test_names_come_from_variables(self, tf_keras_cnn):
        model = load_backbone(tf_keras_cnn)
        assert stage_names(model) == ["stem", "block_1", "block_2", "logits"]
        assert stage_layers(model)[1].weights[0].path == "block_1/block_1_a_conv.kernel"

    def test_names_come_from_scopes_if_variables_say_nothing(self, saved):
        assert stage_names(load_backbone(saved("residual"))) == ["stem", "block_1", "block_2", "top_dense"]

    def test_find_stages_sees_the_same(self, saved):
        backbone = load_backbone(saved("residual"))
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.layers.Dense(2)(backbone(inputs)))
        assert kerasft.find_stages(model).names == [*stage_names(backbone), "head"]
        assert kerasft.find_stages(backbone).names == stage_names(backbone)

    def test_merged_into_a_number_of_stages(self, saved):
        path = saved("residual")
        blocks = [layer.count_params() for layer in stage_layers(load_backbone(path))]
        model = load_backbone(path, stages=2)
        merged = [layer.count_params() for layer in stage_layers(model)]
        best = min(max(sum(blocks[:i]), sum(blocks[i:])) for i in range(1, len(blocks)))
        assert len(merged) == 2 and max(merged) == best and sum(merged) == sum(blocks)
        assert stage_names(model) == ["stem-block_1", "block_2-top_dense"]
        np.testing.assert_allclose(model(IMAGES), load_backbone(path)(IMAGES), atol=1e-6)
        assert stage_names(load_backbone(path, stages=1)) == ["stem-top_dense"]

    @pytest.mark.parametrize("stages", [0, -1, 100, True, 2.0, "2"])
    def test_impossible_numbers_of_stages(self, stages, saved):
        with pytest.raises(
            ValueError, match=r"stages is a number from 1 to \d+, .*; received " + re.escape(repr(stages))
        ):
            load_backbone(saved("residual"), stages=stages)

    @pytest.mark.parametrize(
        ("name", "why"),
        [("parallel", "no single tensor lies on every path"), ("tied", "a weight is used in distant parts")],
    )
    def test_a_graph_that_cannot_be_cut_is_one_stage(self, name, why, saved, uncut, caplog):
        path = saved(name)
        with caplog.at_level(logging.WARNING, "kerasft.hub"):
            model = load_backbone(path)
        assert len(stage_layers(model)) == 1
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert why in caplog.text and path in caplog.text
        loaded, pairs = uncut(path, model)
        x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
        assert_equal_to_uncut(model, loaded, pairs, x, None)

    def test_a_weight_used_twice_in_neighbouring_layers_keeps_them_together(self, saved, caplog):
        with caplog.at_level(logging.WARNING, "kerasft.hub"):
            model = load_backbone(saved("tied_in_front"))
        assert stage_names(model) == ["first", "second", "third"]
        assert not caplog.records


class TestFreezing:
    """What a stage does to its weights, thawed and frozen, in `fit` and in direct calls."""

    def test_inference_never_changes_statistics(self, saved):
        model = load_backbone(saved("residual"), batch_norm="inference")
        before = model.get_weights()
        first, second = model(IMAGES, training=False), model(IMAGES, training=True)
        np.testing.assert_array_equal(first, second)
        assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

    def test_a_frozen_stage_never_updates_in_train_mode(self, tf_keras_cnn):
        model = load_backbone(tf_keras_cnn, batch_norm="train")
        stem, block = stage_layers(model)[:2]
        stem.trainable = False
        frozen, thawed = values(stem), values(block)
        model(IMAGES, training=True)
        assert not changed(stem, frozen)
        assert changed(block, thawed)

    def test_dropout_is_on_only_in_a_thawed_stage_in_train_mode(self, tf_keras_dropout):
        model = load_backbone(tf_keras_dropout, batch_norm="train")
        block = stage_layers(model)[2]  # up to the tensor that the last layer takes
        for layer in stage_layers(model):
            layer.trainable = layer is block
        assert not np.array_equal(model(IMAGES, training=True), model(IMAGES, training=True))
        block.trainable = False
        np.testing.assert_array_equal(model(IMAGES, training=True), model(IMAGES, training=False))
        inference = load_backbone(tf_keras_dropout)
        np.testing.assert_array_equal(inference(IMAGES, training=True), inference(IMAGES, training=False))

    def test_trainable_false_begins_frozen(self, saved):
        assert load_backbone(saved("chain"), trainable=False).trainable_weights == []
        assert len(load_backbone(saved("chain")).trainable_weights) == 3

    def test_regularization_losses_count_only_when_thawed(self, tf_keras_cnn, uncut):
        model = load_backbone(tf_keras_cnn)
        loaded, _ = uncut(tf_keras_cnn, model)
        expected = [loss().numpy() for loss in loaded.regularization_losses]
        assert len(expected) == 2
        model(IMAGES)
        np.testing.assert_allclose([float(v) for v in model.losses], expected, rtol=1e-5)
        kernel = next(w for w in stage_layers(model)[1].weights if "a_conv.kernel" in w.path)
        with tf.GradientTape() as tape:
            model(IMAGES)
            loss = tf.add_n(model.losses)
        np.testing.assert_allclose(tape.gradient(loss, kernel.value), 0.02 * kernel.numpy(), rtol=1e-5)
        stage_layers(model)[1].trainable = False
        model(IMAGES)
        np.testing.assert_allclose([float(v) for v in model.losses], expected[1:], rtol=1e-5)
        model.trainable = False
        model(IMAGES)
        assert model.losses == []

    def test_a_regularization_loss_across_stages_is_left_out_with_a_warning(self, saved, caplog):
        x = np.ones((1, 4), "float32")
        with caplog.at_level(logging.WARNING, "kerasft.hub"):
            for name, stages, count in (("loss_of_one", None, 1), ("loss_of_all", 1, 1)):
                model = load_backbone(saved(name), stages=stages)
                model(x)
                assert len(model.losses) == count
                assert not caplog.records
            model = load_backbone(saved("loss_of_all"))
        model(x)
        assert model.losses == []
        assert "a regularization loss of weights in several stages" in caplog.text

    @pytest.mark.parametrize("batch_norm", ["inference", "train"])
    def test_thawed_between_two_fits(self, batch_norm, saved):
        backbone = load_backbone(saved("residual"), batch_norm=batch_norm)
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.layers.Dense(2, name="out")(backbone(inputs)))
        stages = kerasft.freeze(model, len(kerasft.find_stages(model)) - 1)
        before = [values(layer) for layer in stage_layers(backbone)]
        head = values(stages[-1].layers[0])
        labels = np.array([0, 1, 0, 1, 0, 1])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        model.fit(IMAGES, labels, epochs=1, verbose=0)
        assert not any(changed(s, b) for s, b in zip(stage_layers(backbone), before, strict=True))
        assert changed(stages[-1].layers[0], head)
        kerasft.unfreeze(model)
        model.compile("adam", loss)
        model.fit(IMAGES, labels, epochs=1, verbose=0)
        assert all(changed(s, b) for s, b in zip(stage_layers(backbone), before, strict=True))
        statistics = [w for w in backbone.weights if "moving" in w.path]
        old = [v for layer in before for v in layer]
        moved = [
            not np.array_equal(w.numpy(), old[i])
            for i, w in enumerate(backbone.weights)
            if any(w is s for s in statistics)
        ]
        assert moved == [batch_norm == "train"] * 6


class TestSaving:
    """A `.keras` file holds the stages' graphs: neither the SavedModel nor the network is needed."""

    def test_loads_in_a_new_process_without_the_backbone(self, saved, tmp_path):
        folder = tmp_path / "backbone"
        shutil.copytree(saved("residual"), folder)
        model = load_backbone(folder, batch_norm="train")
        model.save(tmp_path / "model.keras")
        shutil.rmtree(folder)
        np.save(tmp_path / "x.npy", IMAGES)
        code = (
            "import kerasft.hub, keras, numpy as np\n"
            "assert keras.saving.get_registered_object('kerasft>LrMultipliers') is not None\n"
            "model = keras.models.load_model('model.keras')\n"
            "x = np.load('x.npy')\n"
            "np.save('inference.npy', model(x, training=False))\n"
            "np.save('training.npy', model(x, training=True))\n"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        inference, training = (model(IMAGES, training=t).numpy() for t in (False, True))
        np.testing.assert_allclose(np.load(tmp_path / "inference.npy"), inference, atol=1e-6)
        np.testing.assert_allclose(np.load(tmp_path / "training.npy"), training, atol=1e-6)
        assert not np.allclose(inference, training, atol=1e-3)

    @pytest.mark.parametrize("name", ["recurrent", "encoder"])
    def test_round_trip(self, name, saved, tmp_path):
        model = load_backbone(saved(name))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert stage_names(loaded) == stage_names(model)
        x = TOKENS if name == "encoder" else np.concatenate([SEQUENCES, SEQUENCES[:, :1]], 1)
        expected, got = model(x), loaded(x)
        for e, g in zip(tf.nest.flatten(expected), tf.nest.flatten(got), strict=True):
            np.testing.assert_allclose(g, e, atol=1e-6)


class TestBatchNorm:
    """The policies that a SavedModel can be loaded with."""

    @pytest.mark.parametrize("batch_norm", ["off", None, 1, []])
    def test_batch_norm_is_one_of_four(self, batch_norm, saved):
        expected = f'batch_norm is "train", "inference", "statistics" or "frozen", not {batch_norm!r}.'
        with pytest.raises(ValueError, match=re.escape(expected)):
            load_backbone(saved("chain"), batch_norm=batch_norm)

    @pytest.mark.parametrize("batch_norm", ["train", "statistics", "frozen"])
    def test_batch_norm_that_needs_a_training_graph_where_there_is_none(self, batch_norm, saved):
        with pytest.raises(
            ValueError, match=f"batch_norm='{batch_norm}' needs a training graph.*body_bn.moving_mean"
        ):
            load_backbone(saved("normed_no_training_graph"), batch_norm=batch_norm)
        load_backbone(saved("chain"), batch_norm=batch_norm)  # no statistics: nothing to be held to

    def test_a_training_graph_that_cannot_be_used_is_left_out_of_inference(self, saved, caplog):
        path = saved("runs_python_in_training")
        with caplog.at_level(logging.INFO, "kerasft.hub"):
            model = load_backbone(path)
        assert "without its graph for training: " in caplog.text and "EagerPyFunc" in caplog.text
        stage_layers(model)[0].batch_norm = "train"  # it has no statistics
        with pytest.raises(ValueError, match="EagerPyFunc"):
            load_backbone(path, batch_norm="train")
        assert load_backbone(path, batch_norm="train", trust=True)


@pytest.fixture
def reads():
    """A function that tells how many SavedModels were read since, starting with an empty memory."""
    blueprints.clear()
    before = blueprints.made
    return lambda: blueprints.made - before


def described(model):
    """All of a model but its values: names, shapes, dtypes, flags, configuration."""
    weights = [(w.path, w.value.name, w.shape, w.dtype, w.trainable) for w in model.weights]
    config = {k: v for k, v in model.get_config().items() if k != "layers"}
    return weights, str(config), [layer.get_config() for layer in model.layers]


class TestAgain:
    """A SavedModel that was read before is not read again, and nobody can tell."""

    @pytest.mark.parametrize("name", ["residual", "encoder", "recurrent", "loss_of_one"])
    def test_equals_the_first(self, name, saved, reads):
        options = {"batch_norm": "train"} if name == "residual" else {}
        x = {"residual": IMAGES, "encoder": TOKENS}.get(name, np.ones((2, 4), "float32"))
        if name == "recurrent":
            x = np.concatenate([SEQUENCES, SEQUENCES[:, :1]], 1)
        found = []
        for _ in range(3):
            model = load_backbone(saved(name), **options)
            said, before = described(model), model.get_weights()
            training = [bool(options)] * 2  # the second call sees the statistics that the first has moved
            outputs = [tf.nest.flatten(model(x, training=t)) for t in (False, *training)]
            losses = [float(v) for v in model.losses]
            gradients = gradients_of(
                lambda m=model: tf.nest.flatten(m(x))[0], [w.value for w in model.trainable_weights]
            )
            values = [
                tf.convert_to_tensor(v).numpy()
                for v in [*tf.nest.flatten(outputs), *gradients]
                if v is not None
            ]
            found.append((said, losses, [*before, *values, *model.get_weights()]))
            keras.backend.clear_session()
        assert reads() == 1
        for said, losses, arrays in found[1:]:
            assert (said, losses) == found[0][:2]
            assert len(arrays) == len(found[0][2]) > 3
            assert all(np.array_equal(a, b) for a, b in zip(arrays, found[0][2], strict=True))

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_models_are_independent(self, jit_compile, saved, reads):
        first = load_backbone(saved("residual"), batch_norm="train")
        pretrained, expected = first.get_weights(), first(IMAGES).numpy()
        second = load_backbone(saved("residual"), batch_norm="train")
        assert reads() == 1
        assert not {id(layer) for layer in first.layers} & {id(layer) for layer in second.layers}
        assert not {id(w.value) for w in first.weights} & {id(w.value) for w in second.weights}
        first.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        first.fit(IMAGES, np.ones((6, *first.output_shape[1:])), epochs=3, verbose=0)
        assert all(
            changed(layer, [*b])
            for layer, b in zip(
                stage_layers(first),
                ([w.numpy() for w in s.weights] for s in stage_layers(second)),
                strict=True,
            )
        )
        first.weights[0].value.scatter_nd_update([[0, 0, 0, 0]], [7.0])
        first.weights[1].assign(tf.zeros_like(first.weights[1].value))
        stage_layers(first)[0].weight_specs[0]["shape"].append(1)
        stage_layers(first)[1].trainable = False
        for model in (second, load_backbone(saved("residual"), batch_norm="train")):
            assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), pretrained, strict=True))
            np.testing.assert_array_equal(model(IMAGES), expected)
            assert len(model.trainable_weights) == len(model.weights) - 6
            assert stage_layers(model)[0].weight_specs[0]["shape"] == [*model.weights[0].shape]
        assert reads() == 1

    def test_what_is_asked_for_counts(self, saved, reads):
        path = saved("residual")
        for options in (
            {},
            {"stages": 2},
            {"stages": 1},
            {"batch_norm": "train"},
            {"input_shape": (8, 8, 3)},
        ):
            count = reads()
            models = [load_backbone(path, **options) for _ in range(2)]
            assert reads() == count + 1, options
            assert stage_names(models[0]) == stage_names(models[1])
        load_backbone(path, input_shape=[8, 8, 3])
        assert load_backbone(path, input_shape=(8, 8, 3), trainable=False).trainable_weights == []
        assert reads() == 5
        with pytest.raises(ValueError, match="received True"):
            load_backbone(path, stages=True)

    def test_shapes_by_name_and_outputs_count(self, saved, reads):
        path, shape = saved("encoder"), {"input_mask": (5,)}
        first, second = (load_backbone(path, input_shape=shape, output="pooled_output") for _ in range(2))
        assert reads() == 1 and described(first) == described(second)
        assert load_backbone(path, input_shape=shape, output="sequence_output").output_shape == (None, 5, 6)
        assert reads() == 2

    def test_the_folder_counts_however_it_is_named(self, saved, reads, tmp_path, monkeypatch):
        (tmp_path / "link").symlink_to(saved("chain"))
        monkeypatch.chdir(tmp_path)
        models = [load_backbone(h) for h in (saved("chain"), pathlib.Path(saved("chain")), "link")]
        assert reads() == 1
        assert [m.name for m in models] == ["chain", "chain", "link"]
        load_backbone(saved("tied_in_front"))
        assert reads() == 2

    def test_arguments_that_are_objects_are_read_each_time(self, saved, reads):
        for size in (np.int64(8), np.int64(8)):
            assert load_backbone(saved("any_size"), input_shape=(size,)).input_shape == (None, 8)
        assert reads() == 2

    def test_an_overwritten_saved_model_is_noticed(self, saved, reads, tmp_path):
        path, x = tmp_path / "model", np.ones((2, 4), "float32")
        shutil.copytree(saved("chain"), path)
        first = load_backbone(path)(x).numpy()
        loaded = tf.saved_model.load(str(path))
        for variable in loaded.__call__.concrete_functions[0].variables:
            variable.assign(variable * 2.0)
        other = tmp_path / "other"
        tf.saved_model.save(loaded, str(other))
        shutil.copytree(other, path, dirs_exist_ok=True)
        second = load_backbone(path)(x).numpy()
        assert np.abs(first - second).max() > 0.01
        np.testing.assert_allclose(second, loaded(tf.constant(x)), rtol=1e-6)
        assert reads() == 2

    def test_trust_is_not_inherited(self, saved, reads):
        load_backbone(saved("reads_file"), trust=True)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"not known to be safe: \[.*'ReadFile'.*trust=True"):
                load_backbone(saved("reads_file"))
        load_backbone(saved("loss_reads_file"), trust=True)
        with pytest.raises(ValueError, match=r"not known to be safe: \['ReadFile'\]"):
            load_backbone(saved("loss_reads_file"))

    def test_a_graph_for_training_that_was_left_out_is_still_missed(self, saved, reads):
        path = saved("runs_python_in_training")
        load_backbone(path)
        for _ in range(2):
            with pytest.raises(ValueError, match="EagerPyFunc"):
                load_backbone(path, batch_norm="train")

    def test_the_log_says_it_each_time(self, saved, reads, caplog):
        with caplog.at_level(logging.WARNING, "kerasft.hub"):
            for _ in range(2):
                load_backbone(saved("parallel"))
        assert reads() == 1 and len(caplog.records) == 2
        assert caplog.messages[0] == caplog.messages[1]

    def test_only_a_few_are_kept(self, saved, reads):
        names = ["chain", "tied_in_front", "any_size", "tied", "loss_of_one"]  # four entries
        for name in (*names, *names):
            load_backbone(saved(name))
        assert reads() == 10
        load_backbone(saved("loss_of_one"))
        assert reads() == 10

    def test_nothing_of_a_model_stays_alive(self, saved, reads):
        def dies():
            model = load_backbone(saved("residual"), batch_norm="train")
            model.compile("sgd", "mse")
            model.fit(IMAGES, np.ones((6, *model.output_shape[1:])), verbose=0)
            return [
                weakref.ref(x)
                for x in (model, *model.layers, *model.weights, *(w.value for w in model.weights))
            ]

        for _ in range(2):
            refs = dies()
            keras.backend.clear_session()
            gc.collect()
            assert len(refs) > 20 and [r() for r in refs if r() is not None] == []
        assert reads() == 1


class TestRefused:
    """What is no trainable TF2 SavedModel: each says what is wrong."""

    def test_tf1_hub_format(self, tmp_path):
        (tmp_path / "tfhub_module.pb").touch()
        with pytest.raises(ValueError, match="TF1 Hub format.*TF2 version"):
            load_backbone(tmp_path)

    def test_folder_without_a_saved_model(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        with pytest.raises(ValueError, match=r"holds no saved_model\.pb. It has \['notes\.txt'\]"):
            load_backbone(tmp_path)

    def test_never_traced(self, saved):
        with pytest.raises(ValueError, match="`__call__` was never traced"):
            load_backbone(saved("untraced"))

    def test_no_weights(self, saved):
        with pytest.raises(ValueError, match="depend on no variable"):
            load_backbone(saved("weightless"))
