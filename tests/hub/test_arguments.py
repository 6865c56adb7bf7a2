"""Arguments of a SavedModel's function: by name, with its own defaults, for both modes."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

ONES = np.ones((2, 3), "float32")


class Scaled(tf.Module):
    """`x * weight`, ten times that by default; moves its statistics by `momentum` while it trains."""

    def __init__(self, traces, tensors=()):
        self.weight = tf.Variable(2.0, name="weight")
        self.mean = tf.Variable(0.0, name="mean", trainable=False)
        self.__call__ = tf.function(self.apply)
        for values in traces:
            given = {k: tf.TensorSpec((), type(v) or None) if k in tensors else v for k, v in values.items()}
            self.__call__.get_concrete_function(tf.TensorSpec((None, 3), name="x"), **given)

    def apply(self, x, training=False, scale=True, momentum=0.9, rate=None):
        if isinstance(training, bool) and training:
            self.mean.assign(self.mean * momentum + 1.0 - momentum)
        y = x * self.weight + (self.mean if isinstance(training, bool) and training else 0.0)
        if isinstance(scale, bool):
            return y * 10.0 if scale else y
        return tf.cond(scale, lambda: y * 10.0, lambda: y)


BOTH = [{"training": False}, {"training": True}]
EVERY = [{**a, "scale": s, "momentum": m} for a in BOTH for s in (True, False) for m in (0.9, 0.5)]


@pytest.fixture
def written(tmp_path):
    """A function that writes a module and returns its folder."""

    def write(module, **options):
        tf.saved_model.save(module, str(tmp_path / "model"), **options)
        return str(tmp_path / "model")

    return write


class TestArguments:
    """Values by name; what is not named has its default."""

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_flag_beside_training_is_no_flag_for_training(self, order, written):
        traces = [{**a, "scale": s} for a in BOTH for s in (True, False)][::order]
        path = written(Scaled(traces))
        for arguments, expected in (
            (None, 20.0),
            ({}, 20.0),
            ({"scale": True}, 20.0),
            ({"scale": False}, 2.0),
        ):
            model = load_backbone(path, arguments=arguments)
            np.testing.assert_array_equal(model(ONES), np.full((2, 3), expected))

    def test_numbers(self, written):
        path = written(Scaled(EVERY))
        for arguments, moved in ((None, 0.1), ({"momentum": 0.5}, 0.5), ({"momentum": 0.9}, 0.1)):
            model = load_backbone(path, batch_norm="train", arguments=arguments)
            model(ONES, training=True)
            (mean,) = [w for w in model.weights if "mean" in w.path]
            np.testing.assert_allclose(mean.numpy(), moved, rtol=1e-6)  # 0 * m + 1 - m
        assert load_backbone(path, arguments={"momentum": 0.5, "scale": False})(ONES)[0, 0] == 2.0

    def test_a_flag_that_is_a_tensor(self, written):
        module = Scaled([])
        flag = tf.TensorSpec((), tf.bool, name="scale")
        module.__call__.get_concrete_function(tf.TensorSpec((None, 3), name="x"), scale=flag)
        path = written(module)
        assert load_backbone(path)(ONES)[0, 0] == 20.0
        assert load_backbone(path, arguments={"scale": False})(ONES)[0, 0] == 2.0
        assert len(load_backbone(path).inputs) == 1

    def test_a_value_without_a_trace(self, written):
        path = written(Scaled(EVERY))
        message = r"`__call__` was not traced with \{.*'momentum': 0.7.*It was traced with \{'scale': False, "
        for arguments in ({"momentum": 0.7}, {"scale": 1, "momentum": 0.7}):
            with pytest.raises(ValueError, match=message):
                load_backbone(path, arguments=arguments)
        with pytest.raises(ValueError, match="'scale': 1,"):
            load_backbone(path, arguments={"scale": 1})

    def test_a_default_without_a_trace(self, written):
        path = written(Scaled([{"scale": False}]))
        with pytest.raises(ValueError, match=r"not traced with \{'scale': True.*'scale': False"):
            load_backbone(path)
        assert load_backbone(path, arguments={"scale": False})(ONES)[0, 0] == 2.0

    def test_unknown_names(self, written):
        path = written(Scaled(BOTH))
        for name in ("scales", "x"):
            with pytest.raises(
                ValueError, match=rf"arguments names \['{name}'\], but .* has \['scale', 'momentum', 'rate'\]"
            ):
                load_backbone(path, arguments={name: 1})
        with pytest.raises(ValueError, match="arguments names 'training', for which both values are used"):
            load_backbone(path, arguments={"training": True})

    def test_traced_for_training_alone(self, written):
        with pytest.raises(ValueError, match="traced with training=True alone"):
            load_backbone(written(Scaled([{"training": True}])))


def keras_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, activation="relu", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="second")(x))


class TestSignatures:
    """SavedModels whose function is no `__call__`."""

    @pytest.mark.parametrize("saver", ["export", "save"])
    def test_of_keras(self, saver, tmp_path, caplog):
        model, path = keras_model(), str(tmp_path / "model")
        if saver == "export":
            model.export(path, verbose=False)
        else:
            tf.saved_model.save(model, path)
        with caplog.at_level(logging.INFO, "kerasft.hub"):
            backbone = load_backbone(path)
        name = "serve" if saver == "export" else "serving_default"
        assert f"is loaded from its signature '{name}', for inference" in caplog.text
        x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
        np.testing.assert_allclose(backbone(x), model(x), rtol=1e-6, atol=1e-6)
        assert [len(s.weights) for s in backbone.layers if isinstance(s, HubStage)] == [6, 2]
        assert len(backbone.trainable_weights) == 6
        backbone.compile("sgd", "mse")
        before = backbone.get_weights()
        backbone.fit(x, np.ones((5, 2), "float32"), verbose=0)
        moved = [not np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True)]
        assert sum(moved) == 6
        with pytest.raises(ValueError, match="needs a training graph"):
            load_backbone(path, batch_norm="train")

    def test_several(self, tmp_path):
        model, path = keras_model(), str(tmp_path / "model")
        archive = keras.export.ExportArchive()
        archive.track(model)
        spec = [tf.TensorSpec((None, 4))]
        archive.add_endpoint("call", lambda x: model(x, training=False), spec)
        archive.add_endpoint("twice", lambda x: {"doubled": 2.0 * model(x), "plain": model(x)}, spec)
        archive.write_out(path, verbose=False)
        with pytest.raises(
            ValueError, match=r"no `__call__`.*the signatures \['call', 'twice'\].*signature="
        ):
            load_backbone(path)
        with pytest.raises(
            ValueError, match=r"no signature 'serve'. It has \['call', 'serving_default', 'twice'\]"
        ):
            load_backbone(path, signature="serve")
        x = np.ones((1, 4), "float32")
        np.testing.assert_allclose(load_backbone(path, signature="call")(x), model(x), rtol=1e-6)
        doubled = load_backbone(path, signature="twice", output="doubled")
        np.testing.assert_allclose(doubled(x), 2 * model(x), rtol=1e-6)

    def test_beside_a_call(self, written):
        module = Scaled(BOTH)
        function = tf.function(lambda x: {"y": x + module.weight})
        path = written(module, signatures={"shift": function.get_concrete_function(tf.TensorSpec((None, 3)))})
        assert load_backbone(path)(ONES)[0, 0] == 20.0
        assert load_backbone(path, signature="shift")(ONES)[0, 0] == 3.0
        assert load_backbone(path, signature="__call__")(ONES)[0, 0] == 20.0

    def test_variables_that_only_the_graph_knows(self, saved, caplog):
        model = load_backbone(saved("serving_only"))
        assert len(model.trainable_weights) == 1
        assert model(np.ones((1, 4), "float32")).numpy().tolist() == [[2.0] * 4]

    def test_frozen_constants(self, written):
        module = tf.Module()
        kernel = tf.constant(np.ones((3, 2), "float32"))
        function = tf.function(lambda x: {"y": x @ kernel}, input_signature=[tf.TensorSpec((None, 3))])
        path = written(module, signatures={"serve": function})
        with pytest.raises(ValueError, match="depend on no variable.*frozen: it holds 6 numbers"):
            load_backbone(path)

    def test_nothing_to_call(self, written):
        with pytest.raises(ValueError, match="neither a `__call__` nor a signature"):
            load_backbone(written(tf.Module()))
