"""Cuts of several tensors: U-Nets, towers side by side, several inputs and outputs."""

import hub_networks
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import export
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

# Stages, the tensors that each takes and gives, and its number of weights.
EXPECTED = {
    "unet": {
        "enc1": (1, 1, 12),
        "enc2": (1, 1, 12),
        "mid": (1, 1, 12),
        "dec2": (3, 1, 12),  # it joins what it makes to the skip that dec1 takes
        "dec1": (1, 1, 12),
        "logits": (1, 1, 2),
    },
    "siamese": {
        "block_1": (2, 2, 2),
        "block_2": (2, 2, 2),
        "block_3": (2, 2, 2),
        "block_4": (2, 1, 2),
        "score": (1, 1, 2),
    },
    "image_and_table": {
        **{f"block_{i}": (1, 1, 6) for i in range(1, 5)},
        "table_dense": (2, 1, 2),
        "score": (1, 1, 2),
    },
    "pitch": {
        "conv2d": (1, 1, 6),
        "conv2d_1": (1, 1, 6),
        "contours": (1, 1, 2),
    },
}
NAMES = ("unet", "siamese", "image_and_table", "pyramid", "pitch")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A function of a name that gives the network, the folder of its SavedModel, and inputs."""
    root, made = tmp_path_factory.mktemp("networks"), {}

    def get(name):
        if name not in made:
            model = hub_networks.with_random_weights(getattr(hub_networks, name)())
            path = str(root / name)
            export.to_saved_model(model, path, reusable=True)
            rng = np.random.default_rng(1)
            x = [tf.constant(rng.normal(size=(2, *t.shape[1:])), tf.float32) for t in model.inputs]
            made[name] = model, path, x if len(x) > 1 else x[0]
        return made[name]

    return get


@pytest.fixture
def no_fusion():
    """Without TensorFlow's graph optimizer, which rounds otherwise where it fuses nodes."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def stages_of(model):
    return [layer for layer in model.layers if isinstance(layer, HubStage)]


def loss_of(outputs):
    return tf.add_n([tf.reduce_sum(tf.square(y + 0.3)) for y in tf.nest.flatten(outputs)])


class TestStages:
    """A stage for each block, whatever crosses between them."""

    @pytest.mark.parametrize("name", EXPECTED)
    def test_blocks(self, name, networks):
        stages = stages_of(load_backbone(networks(name)[1]))
        found = {
            s.name: (len(s.input_dtypes), len(keras.tree.flatten(s.output)), len(s.weights)) for s in stages
        }
        expected = EXPECTED[name]
        assert {key: found[key] for key in expected} == expected
        assert len(found) == {"pitch": 5}.get(name, len(expected))

    def test_a_convolution_keeps_its_bias(self, networks):
        for name in NAMES:
            for stage in stages_of(load_backbone(networks(name)[1])):
                paths = [w.path.rsplit(".", 1) for w in stage.weights]
                kernels = {layer for layer, last in paths if last == "kernel"}
                assert kernels == {layer for layer, last in paths if last == "bias"}, stage.name

    def test_a_pyramid(self, networks):
        stages = stages_of(load_backbone(networks("pyramid")[1]))
        names = [s.name for s in stages]
        assert names[:6] == [*(f"block_{i}" for i in range(1, 5)), "lateral4", "lateral3"]
        assert max(s.count_params() for s in stages) < sum(s.count_params() for s in stages) / 2
        only = load_backbone(networks("pyramid")[1], output=["p4_box", "p4_class"])
        assert [s.name for s in stages_of(only)][:4] == names[:4]
        assert not any("lateral3" in w.path or "p2" in w.path for w in only.weights)

    def test_merged_into_a_number_of_stages(self, networks):
        model, path, x = networks("unet")
        for count in (1, 2, 3):
            backbone = load_backbone(path, stages=count)
            assert len(stages_of(backbone)) == count
            np.testing.assert_allclose(backbone(x), model(x), rtol=1e-5, atol=1e-5)


class TestEqual:
    """The staged model and the uncut one."""

    @pytest.mark.parametrize("name", NAMES)
    def test_outputs_and_statistics(self, name, networks, no_fusion, uncut, tmp_path):
        _, path, x = networks(name)
        backbone = load_backbone(path, batch_norm="train")
        loaded, pairs = uncut(path, backbone)
        assert len(pairs) == len(backbone.weights)
        for training in (False, True):
            expected, got = loaded(x, training=training), backbone(x, training=training)
            tf.nest.map_structure(np.testing.assert_array_equal, got, expected)
        for variable, weight in pairs:
            np.testing.assert_array_equal(weight.value, variable)
        file = tmp_path / "model.keras"
        backbone.save(file)
        again = keras.models.load_model(file)
        tf.nest.map_structure(np.testing.assert_array_equal, again(x), backbone(x))

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("name", NAMES)
    def test_gradients(self, name, training, networks, uncut):
        _, path, x = networks(name)
        backbone = load_backbone(path, batch_norm="train")
        loaded, pairs = uncut(path, backbone)
        pairs = [(v, w) for v, w in pairs if w.trainable]
        with tf.GradientTape(persistent=True) as tape:
            expected = loss_of(loaded(x, training=training))
            got = loss_of(backbone(x, training=training))
        expected = tape.gradient(expected, [v for v, _ in pairs])
        got = tape.gradient(got, [w.value for _, w in pairs])
        largest = max(float(np.abs(g).max()) for g in expected)
        for e, g in zip(expected, got, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5 * largest)

    @pytest.mark.parametrize("name", ["unet", "siamese"])
    def test_a_frozen_part_stays_and_the_rest_steps_as_keras_does(self, name, networks):
        model, path, x = networks(name)
        backbone, plain = load_backbone(path), keras.models.clone_model(model)
        plain.set_weights(model.get_weights())
        depth = 3
        frozen = {w.path for s in stages_of(backbone)[:depth] for w in s.weights}
        kerasft.freeze(backbone, depth)
        before = {w.path: w.numpy() for w in backbone.weights}
        moves = {w.path for s in stages_of(backbone)[depth:] for w in s.trainable_weights}
        old = [w for w in plain.weights if any(np.array_equal(w, before[path]) for path in moves)]
        assert len(old) == len(moves) > 0
        y = np.ones((2, *backbone.output_shape[1:]), "float32")
        backbone.compile(keras.optimizers.SGD(0.1), "mse")
        backbone.fit(x, y, verbose=0)
        for path, value in before.items():
            changed = not np.array_equal(value, next(w for w in backbone.weights if w.path == path))
            assert changed == (path in moves), path
        assert frozen and not frozen & moves
        with tf.GradientTape() as tape:  # BatchNormalization uses its moving statistics
            loss = tf.reduce_mean(tf.square(plain(x, training=False) - y))
        steps = tape.gradient(loss, [w.value for w in old])
        for w, step in zip(old, steps, strict=True):
            (path,) = [p for p in moves if np.array_equal(before[p], w)]
            new = next(v for v in backbone.weights if v.path == path)
            np.testing.assert_allclose(new, w.numpy() - 0.1 * step, rtol=1e-4, atol=1e-6)

    def test_statistics_that_are_assigned_twice(self, tmp_path):
        module = tf.Module()
        module.kernel = tf.Variable(np.ones((3, 3), "float32"), name="kernel")
        module.mean = tf.Variable(np.zeros(3, "float32"), trainable=False, name="moving_mean")

        def apply(x, training=False):
            for _ in range(2):
                if training:
                    module.mean.assign(module.mean * 0.9 + tf.reduce_mean(x, 0) * 0.1)
                x = tf.matmul(x, module.kernel) - module.mean
            return x

        module.__call__ = tf.function(apply)
        for training in (False, True):
            module.__call__.get_concrete_function(tf.TensorSpec((None, 3), name="x"), training)
        path = str(tmp_path / "model")
        tf.saved_model.save(module, path)
        with pytest.raises(ValueError, match=r"assigns \['moving_mean:0'\] more than once"):
            load_backbone(path, batch_norm="train")
        assert len(load_backbone(path).weights) == 2
