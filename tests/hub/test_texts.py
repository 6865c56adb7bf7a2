"""SavedModels that take strings: lookup tables, hash buckets, texts of any kind, and what becomes of them."""

import shutil

import hub_texts
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import export
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

TEXTS = tf.constant(hub_texts.TEXTS)
Y = np.arange(8, dtype="float32")[:, None] / 8
VECTORS = ["embeddings", "first", "second"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A function of a name that gives the folder of a SavedModel, and texts for it."""
    root = tmp_path_factory.mktemp("texts")
    both = {"title": TEXTS, "body": TEXTS[::-1]}

    def get(name):
        path = root / name
        if not path.exists():
            words = tmp_path_factory.mktemp("words")
            module = hub_texts.Padded() if name == "padded" else hub_texts.Embedding(name, words)
            tf.saved_model.save(module, str(path))
            shutil.rmtree(words)
        return str(path), both if name == "padded" else TEXTS

    return get


def stages_of(model):
    return [layer for layer in model.layers if isinstance(layer, HubStage)]


def model_of(path, depth=0):
    """The backbone and a Dense layer, frozen up to a depth."""
    keras.utils.set_random_seed(0)
    backbone = load_backbone(path)
    inputs = {t.name: keras.Input((), dtype="string", name=t.name) for t in backbone.inputs}
    given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    model = keras.Model(given, keras.layers.Dense(1)(backbone(given)))
    kerasft.freeze(model, depth)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


NAMES = (*hub_texts.TABLES, "padded")


class TestEqual:
    """The staged model and the uncut one."""

    @pytest.mark.parametrize("name", NAMES)
    def test_outputs(self, name, texts):
        path, x = texts(name)
        model, loaded = load_backbone(path), tf.saved_model.load(path)
        expected = loaded(x)
        np.testing.assert_array_equal(model(x), expected)
        np.testing.assert_array_equal(tf.function(model)(x), expected)
        assert len(np.unique(expected, axis=0)) >= 6  # the texts are told apart

    @pytest.mark.parametrize("name", ["buckets", "hash", "padded"])
    def test_gradients(self, name, texts, uncut):
        path, x = texts(name)
        model = load_backbone(path)
        loaded, pairs = uncut(path, model)
        assert len(pairs) == 3
        gradients = []
        for network, weights in ((loaded, [v for v, _ in pairs]), (model, [w.value for _, w in pairs])):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(network(x) + 0.3))
            gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)])
        for e, g in zip(*gradients, strict=True):
            assert np.abs(e).max() > 0
            np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-6)

    def test_training_mode(self, texts):
        path, x = texts("padded")
        model = load_backbone(path, batch_norm="train")
        assert [stage.name for stage in stages_of(model)] == ["text", "embeddings", "layer_0", "layer_1"]
        np.testing.assert_array_equal(model(x), tf.saved_model.load(path)(x))
        assert np.abs(model(x, training=True) - model(x)).max() > 0.01  # dropout draws

    @pytest.mark.parametrize("mode", ["int", "multi_hot"])
    def test_text_vectorization_of_keras(self, mode, tmp_path):
        length = {"output_sequence_length": 5} if mode == "int" else {}
        layer = keras.layers.TextVectorization(output_mode=mode, **length)
        layer.adapt(hub_texts.TEXTS[:5])
        inputs = keras.Input((), dtype="string")
        x = layer(inputs)
        if mode == "int":
            x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4, name="vectors")(x))
        plain = keras.Model(inputs, keras.layers.Dense(3, name="top")(x))
        plain.export(tmp_path / "model", verbose=False)
        model = load_backbone(tmp_path / "model")
        loaded = tf.saved_model.load(str(tmp_path / "model"))
        expected = loaded.serve(TEXTS)
        np.testing.assert_array_equal(tf.function(model)(TEXTS), expected)
        np.testing.assert_allclose(expected, plain(TEXTS), rtol=1e-5, atol=1e-6)
        assert all(w.trainable for w in model.weights)


class TestStages:
    """Strings are in a stage of their own where what they become has a row for each text."""

    def test_ids_of_a_fixed_length(self, texts):
        path, x = texts("padded")
        first, *others = stages_of(load_backbone(path))
        assert first.name == "text" and first.weights == [] and first.input_dtypes == ["string"] * 2
        results = first([x["body"], x["title"]])
        assert [t.shape.as_list() for t in tf.nest.flatten(results)] == [[8, 5]]
        assert not any("string" in stage.input_dtypes for stage in others)

    def test_no_cut_at_a_row_for_each_word(self, texts):
        model = load_backbone(texts("file")[0])
        assert [stage.name for stage in stages_of(model)] == VECTORS
        assert stages_of(model)[0].input_dtypes == ["string"]
        assert [v.path.split("/")[-1] for v in stages_of(model)[0].trainable_weights] == ["embeddings"]
        assert kerasft.find_stages(model_of(texts("file")[0])).names == [*VECTORS, "head"]

    def test_the_number_of_texts_is_no_text(self, tmp_path):
        module = hub_texts.Padded()

        def apply(x):
            ids = module.table.lookup(tf.strings.substr(x, 0, 3))[:, None]
            vectors = tf.gather(module.words, ids)[:, 0]
            return vectors @ module.layers[0] + tf.ones((tf.shape(x)[0], 4)) @ module.layers[1]

        module.__call__ = tf.function(apply, input_signature=[tf.TensorSpec((None,), tf.string, name="x")])
        tf.saved_model.save(module, str(tmp_path / "model"))
        model = load_backbone(tmp_path / "model")
        assert stages_of(model)[0].name == "text"
        np.testing.assert_array_equal(tf.function(model)(TEXTS), module.__call__(TEXTS))

    def test_shapes_that_the_author_stated(self, tmp_path):
        module = hub_texts.Embedding("constants", tmp_path)
        module.__call__ = tf.function(module.vectors, input_signature=[tf.TensorSpec((None,), tf.string)])
        tf.saved_model.save(module, str(tmp_path / "model"))
        model = load_backbone(tmp_path / "model")
        assert model.output_shape == (None, 4)
        np.testing.assert_array_equal(model(TEXTS), module.vectors(TEXTS))


class TestFit:
    """Training, freezing and the cache."""

    @pytest.mark.parametrize(("name", "depth"), [("file", 1), ("hash", 2), ("padded", 1), ("padded", 2)])
    def test_a_cached_fit_ends_where_a_plain_one_ends(self, name, depth, texts):
        path, x = texts(name)
        ends = []
        for callbacks in ([], [kerasft.PrefixCache()]):
            model = model_of(path, depth)
            frozen = [w.numpy() for s in kerasft.find_stages(model)[:depth] for w in s.weights]
            options = {"batch_size": 3, "epochs": 3, "shuffle": False, "verbose": 0}
            model.fit(x, Y, callbacks=callbacks, **options)
            kept = [w for s in kerasft.find_stages(model)[:depth] for w in s.weights]
            for before, weight in zip(frozen, kept, strict=True):
                np.testing.assert_array_equal(weight, before)
            ends.append(model.get_weights())
        assert callbacks[0].reason is None and callbacks[0].report.replayed == [False, True, True]
        for plain, cached in zip(*ends, strict=True):
            np.testing.assert_allclose(cached, plain, atol=1e-6)

    def test_what_is_thawed_trains(self, texts):
        path, x = texts("file")
        model = model_of(path)
        before = model.get_weights()
        model.fit(x, Y, verbose=0)
        changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
        assert changed == [True] * 5 and not model.jit_compile  # strings can't be compiled

    def test_the_prefix_is_told(self, texts):
        report = kerasft.inspect_prefix(model_of(texts("padded")[0], 2))
        assert report.reason is None and 0 < report.share < 1
        assert (report.cut, report.bytes_per_sample) == ("text", 4 * 5)  # ids; their vectors are looked up


class TestStored:
    """Files of the model: the words come along."""

    @pytest.mark.parametrize("name", NAMES)
    def test_keras(self, name, texts, tmp_path):
        path, x = texts(name)
        model = model_of(path)
        model.fit(x, Y, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        np.testing.assert_array_equal(again(x), model(x))
        again.fit(x, Y, verbose=0)

    @pytest.mark.parametrize("name", ["file", "padded"])
    def test_saved_model(self, name, texts, tmp_path):
        path, x = texts(name)
        model = model_of(path)
        export.to_saved_model(model, tmp_path / "model", reusable=True)
        np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path / "model"))(x), tf.function(model)(x))
        again = load_backbone(tmp_path / "model")
        np.testing.assert_array_equal(again(x), model(x))
        assert len(again.weights) == 5

    def test_tflite_is_refused(self, texts, tmp_path):
        with pytest.raises(ValueError, match=r"strings.*StaticRegexReplace, .*StringSplitV2.*token ids"):
            export.to_tflite(model_of(texts("file")[0]), tmp_path / "model.tflite")

    def test_other_words_in_the_same_place(self, tmp_path):
        for shift in (0, 1):
            words = tmp_path / str(shift)
            words.mkdir()
            tf.saved_model.save(hub_texts.Embedding("file", words), str(tmp_path / "model"))
            asset = tmp_path / "model" / "assets" / "words.txt"
            asset.write_text("\n".join([*hub_texts.WORDS[shift:], *hub_texts.WORDS[:shift]]))
            model = load_backbone(tmp_path / "model")
            np.testing.assert_array_equal(model(TEXTS), tf.saved_model.load(str(tmp_path / "model"))(TEXTS))


class TestRefused:
    """What can't be right says so by name."""

    def test_numbers_for_texts(self, texts):
        stage = stages_of(load_backbone(texts("file")[0]))[0]
        for given in (tf.range(3), keras.Input((), dtype="int32")):
            with pytest.raises(
                ValueError, match="'embeddings' takes strings; received numbers of the dtype int32"
            ):
                stage(given)

    def test_texts_for_numbers(self, saved):
        stage = stages_of(load_backbone(saved("chain")))[0]
        with pytest.raises(ValueError, match="'first' takes numbers of the dtype float32; received strings"):
            stage(TEXTS)

    def test_another_rank(self, texts):
        model = load_backbone(texts("file")[0])
        with pytest.raises(ValueError, match=r"'embeddings' can't take string \(None, 2\)"):
            model(keras.Input((2,), dtype="string"))
        with pytest.raises(ValueError, match=r"Expected shape \(None,\)"):
            model(tf.constant([["a", "b"]]))

    def test_results_that_depend_on_the_other_texts(self, tmp_path):
        module = hub_texts.Padded()

        def apply(texts):
            ids = module.table.lookup(tf.strings.split(texts).to_tensor("?"))
            return tf.reduce_mean(tf.gather(module.words, ids), 1)

        module.__call__ = tf.function(apply, input_signature=[tf.TensorSpec((None,), tf.string, name="x")])
        tf.saved_model.save(module, str(tmp_path / "model"))
        with pytest.raises(
            ValueError, match="input 'x' takes texts, .* depend on the other texts of a batch"
        ):
            load_backbone(tmp_path / "model")
