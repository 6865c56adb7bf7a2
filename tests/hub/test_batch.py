"""The batch axis: inputs without one are refused by name or mapped; a fixed batch is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub_modules import Simple

import kerasft
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

RNG = np.random.default_rng(0)


def frames(module, x):
    """Overlapping frames of a waveform, and a score of each, as YAMNet has them."""
    cut = tf.signal.frame(x, 4, 2)
    return {"scores": tf.matmul(tf.nn.relu(tf.matmul(cut, module.first)), module.second), "frames": cut}


def written(function, spec, folder):
    tf.saved_model.save(Simple(function, spec), str(folder))
    return str(folder)


WITHOUT = {
    "waveform": (frames, tf.TensorSpec((None,), name="waveform")),
    "smoothed": (
        lambda m, x: tf.nn.conv1d(x[None, :, None], m.first[:3, :1, None], 1, "SAME")[0, :, 0],
        tf.TensorSpec((None,), name="waveform"),
    ),
    "softmax": (lambda m, x: tf.nn.softmax(x * m.first[0, 0]), tf.TensorSpec((None,), name="waveform")),
    "fixed": (
        lambda m, x: tf.matmul(tf.reshape(x, (-1, 4)), m.first)[0],
        tf.TensorSpec((16,), name="waveform"),
    ),
    "image": (
        lambda m, x: tf.reduce_mean(tf.matmul(x, m.first), [0, 1]),
        tf.TensorSpec((None, None, 4), name="waveform"),
    ),
    "stereo": (lambda m, x: tf.matmul(x[::2], m.first), tf.TensorSpec((None, 4), name="waveform")),
    "scalar": (lambda m, x: x * m.first, tf.TensorSpec((), name="waveform")),
}


class TestWithout:
    """Inputs of one sample."""

    @pytest.mark.parametrize("kind", WITHOUT)
    def test_refused_by_name(self, kind, tmp_path):
        path = written(*WITHOUT[kind], tmp_path / "model")
        with pytest.raises(ValueError, match="input 'waveform'.* has no batch axis.*map_batch=True"):
            load_backbone(path)

    @pytest.mark.parametrize("kind", ["waveform", "smoothed", "fixed", "image", "scalar"])
    def test_mapped(self, kind, tmp_path):
        function, spec = WITHOUT[kind]
        path = written(function, spec, tmp_path / "model")
        model, loaded = load_backbone(path, map_batch=True), tf.saved_model.load(path)
        assert model.inputs[0].shape == (None, *spec.shape)
        shape = [11 if n is None else n for n in spec.shape]
        x = tf.constant(RNG.normal(size=(3, *shape)), tf.float32)
        single = [loaded(one) for one in x]
        expected = tf.nest.map_structure(lambda *rows: tf.stack(rows), *single)
        tf.nest.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), model(x), expected
        )
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        tf.nest.map_structure(np.testing.assert_array_equal, again(x), model(x))

    def test_mapped_stages_train(self, tmp_path, uncut):
        path = written(*WITHOUT["waveform"], tmp_path / "model")
        model = load_backbone(path, map_batch=True, output="scores", input_shape=(12,))
        assert [layer.name for layer in model.layers[1:]] == ["first", "second"]
        assert model.output_shape == (None, 5, 4)
        loaded, pairs = uncut(path, model)
        x = tf.constant(RNG.normal(size=(3, 12)), tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            expected = tf.add_n([tf.reduce_sum(loaded(one)["scores"] ** 2) for one in x])
            got = tf.reduce_sum(model(x) ** 2)
        for variable, weight in pairs:
            e, g = tape.gradient(expected, variable), tape.gradient(got, weight.value)
            np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5)
        before = [w.numpy() for w in model.weights]
        full = keras.Sequential([model, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
        kerasft.freeze(full, 1)
        full.compile("sgd", "mse")
        full.fit(x, np.ones((3, 1), "float32"), verbose=0)
        assert [np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights, strict=True)] == [
            True,
            False,
        ]

    def test_mapped_has_no_statistics_of_a_batch(self, saved):
        with pytest.raises(ValueError, match="batch_norm is \"inference\", not 'train'"):
            load_backbone(saved("chain"), map_batch=True, batch_norm="train")

    def test_shape_of_a_waveform(self, tmp_path):
        path = written(*WITHOUT["waveform"], tmp_path / "model")
        with pytest.raises(
            ValueError, match="without the batch. If it has no batch axis, pass map_batch=True"
        ):
            load_backbone(path, input_shape=(16,))


class TestWith:
    """A first axis that is the batch."""

    @pytest.mark.parametrize(
        ("function", "spec"),
        [
            (lambda m, x: tf.matmul(tf.stack([x] * 4, 1), m.first), tf.TensorSpec((None,), name="x")),
            (lambda m, x: tf.gather(m.first, x), tf.TensorSpec((None,), tf.int32, name="ids")),
            (lambda m, x: tf.matmul(tf.reshape(x, (-1, 4)), m.first), tf.TensorSpec((None, 2, 2), name="x")),
            (lambda m, x: tf.matmul(tf.ensure_shape(x, (None, 4)), m.first), tf.TensorSpec((None, None))),
        ],
    )
    def test_is_loaded(self, function, spec, tmp_path):
        path = written(function, spec, tmp_path / "model")
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        shape = [5, *(4 if n is None else n for n in spec.shape[1:])]
        x = tf.cast(RNG.integers(0, 4, shape), spec.dtype)
        np.testing.assert_allclose(model(x), loaded(x), rtol=1e-6)

    def test_two_inputs_of_which_one_is_no_batch(self, tmp_path):
        module = tf.Module()
        module.kernel = tf.Variable(np.ones((4, 3), "float32"))
        a, b = (tf.TensorSpec((None, n), name=name) for n, name in ((4, "x"), (3, "bank")))
        module.__call__ = tf.function(
            lambda x, bank: tf.matmul(x @ module.kernel, bank, transpose_b=True), input_signature=[a, b]
        )
        tf.saved_model.save(module, str(tmp_path / "model"))
        with pytest.raises(ValueError, match="input 'bank'.* has no batch axis"):
            load_backbone(tmp_path / "model")

    def test_a_fixed_batch(self, tmp_path):
        def apply(module, x):
            return tf.matmul(tf.reshape(tf.nn.relu(tf.matmul(x, module.first)), (8, 4)), module.second)

        path = written(apply, tf.TensorSpec((8, 4), name="x"), tmp_path / "model")
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        assert model.input_shape == (8, 4) and model.output_shape == (8, 4)
        x = RNG.normal(size=(8, 4)).astype("float32")
        np.testing.assert_array_equal(tf.function(model)(x), loaded(x))
        model.compile("sgd", "mse")
        model.fit(np.concatenate([x, x]), np.ones((16, 4), "float32"), batch_size=8, verbose=0)
        with pytest.raises(ValueError, match=r"written for batches of 8; received one of 3.*drop_remainder"):
            model(x[:3])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(x), model(x))
        with pytest.raises(ValueError, match="written for batches of 8; received one of 3"):
            again(x[:3])


class TestStage:
    """Shapes and dtypes of a stage's inputs."""

    def test_compute_output_shape(self, saved):
        model = load_backbone(saved("encoder"))
        stages = [layer for layer in model.layers if isinstance(layer, HubStage)]
        assert stages[0].compute_output_shape([(7, 5), (7, 5)]) == (7, 5, 6)
        assert load_backbone(saved("chain")).layers[1].compute_output_shape((None, 4)) == (None, 4)

    def test_fractions_for_token_ids(self, saved):
        model = load_backbone(saved("encoder"))
        inputs = {t.name: keras.Input(t.shape[1:], name=t.name) for t in model.inputs}
        stage = next(layer for layer in model.layers if isinstance(layer, HubStage))
        with pytest.raises(
            ValueError, match="'embeddings' takes a tensor of the dtype int32; received float32"
        ):
            stage([*inputs.values()][:2])

    def test_missing_inputs(self, saved):
        stage = next(x for x in load_backbone(saved("encoder")).layers if isinstance(x, HubStage))
        with pytest.raises(ValueError, match="'embeddings' takes 2 tensors; received 1"):
            stage(np.ones((2, 5), "int32"))


def of_words(module, x):
    """Two dense layers on the (batch * length, width) rows of sentences, then the mean of each sentence."""
    rows = tf.nn.relu(tf.matmul(tf.reshape(x, (-1, 4)), module.first))
    rows = tf.matmul(tf.nn.relu(tf.matmul(rows, module.second)), module.third)
    return tf.reduce_mean(tf.reshape(rows, (-1, x.shape[1], 4)), 1)


def of_words_between(module, x):
    """A dense layer on the rows of sentences, between layers on the sentences."""
    y = tf.nn.relu(tf.einsum("blw,wv->blv", x, module.first))
    y = tf.reshape(tf.nn.relu(tf.matmul(tf.reshape(y, (-1, 4)), module.second)), (-1, x.shape[1], 4))
    return tf.matmul(tf.reduce_mean(y, 1), module.third)


def of_chosen_words(module, x):
    """A dense layer on those words alone whose first number is positive; shapes do not tell how many."""
    y = tf.matmul(x, module.first)
    places = tf.where(y[:, :, 0] > 0.0)
    kept = tf.nn.relu(tf.matmul(tf.gather_nd(y, places), module.second))
    return tf.matmul(tf.reduce_sum(tf.scatter_nd(places, kept, tf.shape(y, tf.int64)), 1), module.third)


def of_sentences_in_a_loop(module, x):
    """A loop whose result has a row for each sample, which shapes do not tell."""
    y = tf.matmul(x, module.first)
    words = tf.TensorArray(tf.float32, 3)
    for i in tf.range(3):
        words = words.write(i, tf.tanh(tf.matmul(y[:, i], module.second)))
    return tf.reduce_sum(tf.matmul(tf.transpose(words.stack(), (1, 0, 2)), module.third), 1)


class TestCuts:
    """Cuts are where each sample has a row of its own."""

    @pytest.mark.parametrize(
        ("function", "names"),
        [
            (of_words, ["first"]),
            (of_words_between, ["first", "second", "third"]),
            (of_chosen_words, ["first", "second", "third"]),
            (of_sentences_in_a_loop, ["first", "second", "third"]),
        ],
    )
    def test_not_at_rows_of_several_samples(self, function, names, tmp_path):
        path = written(function, tf.TensorSpec((None, 3, 4), name="x"), tmp_path / "model")
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        stages = [layer for layer in model.layers if isinstance(layer, HubStage)]
        assert [stage.name for stage in stages] == names
        x = RNG.normal(size=(5, 3, 4)).astype("float32")
        np.testing.assert_array_equal(tf.function(model)(x), loaded(x))
        y = tf.constant(x)
        for stage in stages:
            y = stage(y)
            assert y.shape[0] == 5

    @pytest.mark.parametrize("function", [of_words, of_words_between, of_chosen_words])
    def test_a_cached_fit_ends_where_a_plain_one_ends(self, function, tmp_path):
        path = written(function, tf.TensorSpec((None, 3, 4), name="x"), tmp_path / "model")
        x = RNG.normal(size=(10, 3, 4)).astype("float32")
        weights = []
        for cache in (None, kerasft.PrefixCache()):
            keras.utils.set_random_seed(0)
            model = keras.Sequential([load_backbone(path), keras.layers.Dense(2)])
            kerasft.freeze(model, 1)
            assert kerasft.inspect_prefix(model).reason is None
            model.compile("sgd", "mse")
            options = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0}
            model.fit(x, x[:, 0, :2], **options, callbacks=[cache] if cache else [])
            weights.append(model.get_weights())
        assert cache.report.replayed == [False, True, True]
        for plain, cached in zip(*weights, strict=True):
            np.testing.assert_allclose(cached, plain, atol=1e-6)
