"""Sizes: what reads only the size of a tensor is no data, so graphs are cut and weights owned without it."""

import hub_bert
import keras
import numpy as np
import pytest
import tensorflow as tf
from flat_graphs import flat
from hub_modules import Simple

from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

READS = {
    "ones_like": tf.ones_like,
    "zeros_like": lambda y: tf.zeros_like(y) + 2.0,
    "shape": lambda y: tf.fill(tf.shape(y), 3.0),
    "int64": lambda y: tf.fill(tf.shape(y, out_type=tf.int64), 3.0),
    "batch": lambda y: tf.fill([tf.shape(y)[0], 4], 3.0),
    "gathered": lambda y: tf.fill(tf.concat([tf.gather(tf.shape(y), [0]), [4]], 0), 3.0),
    "sliced": lambda y: tf.fill(tf.shape(y)[:2], 3.0),
    "size": lambda y: tf.cast(tf.size(y), tf.float32),
    "rank": lambda y: tf.cast(tf.raw_ops.Rank(input=y), tf.float32),
    "several": lambda y: tf.fill(tf.raw_ops.ShapeN(input=[y, y])[1], 3.0),
    "counted": lambda y: tf.cast(tf.range(tf.shape(y)[0])[:, None], tf.float32),
}


def reading(read):
    def apply(module, x):
        y = tf.nn.relu(tf.matmul(x, module.first))
        z = tf.nn.relu(tf.matmul(y, module.second))
        return tf.matmul(z, module.third) + read(y)

    return apply


def stages_of(model):
    return [layer for layer in model.layers if isinstance(layer, HubStage)]


def saved_in(folder, module):
    tf.saved_model.save(module, str(folder))
    return str(folder)


class TestReads:
    """A late layer reads the size of an early one's result."""

    @pytest.mark.parametrize("read", READS)
    def test_stays_a_chain(self, read, tmp_path):
        path = saved_in(tmp_path / "model", Simple(reading(READS[read])))
        model = load_backbone(path)
        assert [s.name for s in stages_of(model)] == ["first", "second", "third"]
        assert [[w.path.split("/")[-1] for w in s.weights] for s in stages_of(model)] == [
            ["first.kernel"],
            ["second.kernel"],
            ["third.kernel"],
        ]
        assert [len(s.input_dtypes) for s in stages_of(model)] == [1, 1, 1]
        loaded = tf.saved_model.load(path)
        for batch in (1, 3):
            x = tf.constant(np.random.default_rng(0).normal(size=(batch, 4)), tf.float32)
            np.testing.assert_array_equal(tf.function(model)(x), loaded(x))
        file = tmp_path / "model.keras"
        model.save(file)
        np.testing.assert_array_equal(keras.models.load_model(file)(x), model(x))

    def test_an_unknown_size_is_data(self, tmp_path):
        def chosen(y):
            count = tf.shape(tf.boolean_mask(y[:, 0], y[:, 0] > 0))[0]
            return tf.cast(count, tf.float32)

        path = saved_in(tmp_path / "model", Simple(reading(chosen)))
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        assert [s.name for s in stages_of(model)] != ["first", "second", "third"]
        x = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)
        np.testing.assert_array_equal(tf.function(model)(x), loaded(x))

    def test_a_limit_is_not_taken_for_the_size_below_it(self, tmp_path):
        def limited(module, x):
            y = tf.nn.relu(tf.matmul(x, module.first))
            z = tf.nn.relu(tf.matmul(y, module.second))
            return tf.matmul(z, module.third) + tf.cast(tf.shape(y[:40])[0], tf.float32)

        path = saved_in(tmp_path / "model", Simple(limited))
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        for batch in (3, 50):
            x = tf.ones((batch, 4))
            np.testing.assert_array_equal(tf.function(model)(x), loaded(x))


class TestSizes:
    """Which axes are as long as which axes of the inputs."""

    def test_axes(self, tmp_path):
        def apply(module, x):
            y = tf.matmul(x, module.first)
            return {
                "same": y,
                "turned": tf.transpose(y),
                "flat": tf.reshape(y, [-1]),
                "limited": y[:40],
                "doubled": tf.concat([y, y], 0),
                "next": tf.concat([y, y[:1]], 0),
            }

        graph, _, _ = flat(saved_in(tmp_path / "model", Simple(apply)))
        batch = frozenset({(graph.inputs[0], 0)})
        found = [graph.sizes.of(tensor) for tensor in graph.outputs]  # in the order of their names
        named = dict(zip(("doubled", "flat", "limited", "next", "same", "turned"), found, strict=True))
        assert named == {
            "doubled": (None, 4),
            "flat": (None,),
            "limited": (None, 4),
            "next": (None, 4),
            "same": (batch, 4),
            "turned": (4, batch),
        }


@pytest.fixture(scope="module", params=["keras", "module"])
def bert(request, tmp_path_factory):
    """The folder of a BERT, written as tf_keras does or through a module."""
    module = hub_bert.bert() if request.param == "keras" else hub_bert.Module()
    return saved_in(tmp_path_factory.mktemp("bert") / request.param, module)


@pytest.fixture
def no_fusion():
    """Without TensorFlow's graph optimizer, which rounds otherwise where it fuses nodes."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


class TestBert:
    """TF Hub's BERT: its mask reads the shape of the embeddings."""

    def test_a_stage_for_each_layer(self, bert, no_fusion):
        model, loaded = load_backbone(bert), tf.saved_model.load(bert)
        stages = stages_of(model)
        blocks = [f"transformer_layer_{i}" for i in range(3)]
        assert [s.name for s in stages] == ["word_embeddings", *blocks, "pooler_transform"]
        assert [len(s.weights) for s in stages] == [5, 16, 16, 16, 2]
        assert len({s.count_params() for s in stages[1:4]}) == 1
        shapes = [
            sorted((w.path.partition(f"layer_{i}.")[2], *w.shape) for w in s.weights)
            for i, s in enumerate(stages[1:4])
        ]
        assert shapes[0] == shapes[1] == shapes[2]
        assert [len(s.input_dtypes) for s in stages] == [2, 2, 2, 2, 1]
        for x in (hub_bert.tokens(2, 5), hub_bert.tokens(3, 16)):
            expected, got = loaded(x, training=False), model(x)
            for i, output in enumerate(expected["encoder_outputs"]):
                np.testing.assert_array_equal(got[f"encoder_outputs_{i}"], output)
            for name in ("default", "pooled_output", "sequence_output"):
                np.testing.assert_array_equal(got[name], expected[name])
        masked = model({**x, "input_mask": 1 - x["input_mask"]})["pooled_output"]
        assert np.abs(masked - got["pooled_output"]).max() > 1e-4

    def test_gradients(self, bert, uncut):
        model = load_backbone(bert, output="sequence_output")
        loaded, pairs = uncut(bert, model)
        assert len(pairs) == 5 + 3 * 16
        x = hub_bert.tokens(2, 6)

        def gradients(call, variables):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(call() + 0.3))
            return tape.gradient(loss, variables)

        expected = gradients(
            lambda: loaded(x, training=False)["sequence_output"], [variable for variable, _ in pairs]
        )
        got = gradients(lambda: model(x), [weight.value for _, weight in pairs])
        largest = max(float(np.abs(tf.convert_to_tensor(g)).max()) for g in expected)
        for e, g in zip(expected, got, strict=True):
            e, g = tf.convert_to_tensor(e), tf.convert_to_tensor(g)
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5 * largest)

    def test_the_graph_for_training_is_cut_there_too(self, bert):
        model = load_backbone(bert, batch_norm="train", output="pooled_output")
        assert len(stages_of(model)) == 5
        x = hub_bert.tokens(2, 6)
        assert not np.array_equal(model(x, training=True), model(x, training=True))  # dropout
        np.testing.assert_array_equal(model(x), model(x))
