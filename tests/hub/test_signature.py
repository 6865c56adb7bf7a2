"""Inputs and outputs of a SavedModel: shapes, dtypes, names and structures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft import export
from kerasft.hub.load import load_backbone


class TestInputs:
    """input_shape, dtypes and structures."""

    def test_shape_fills_what_is_open(self, saved):
        assert load_backbone(saved("any_size"), input_shape=(8,)).input_shape == (None, 8)
        assert load_backbone(saved("any_size")).input_shape == (None, None)
        assert load_backbone(saved("any_shape"), input_shape=(2, 4)).input_shape == (None, 2, 4)

    def test_shape_by_name(self, saved):
        model = load_backbone(saved("encoder"), input_shape={"input_mask": (5,)})
        assert sorted(t.name for t in model.inputs) == ["input_mask", "input_type_ids", "input_word_ids"]
        assert {t.dtype for t in model.inputs} == {"int32"}

    def test_shape_by_name_of_inputs_in_a_list(self, tmp_path):
        a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
        both = keras.layers.Concatenate(axis=1)([keras.layers.Dense(2)(a), keras.layers.Dense(2)(b)])
        path = export.to_saved_model(keras.Model([a, b], both), tmp_path / "model")
        model = load_backbone(path, input_shape={"b": (5, 3)})
        assert {t.name: tuple(t.shape) for t in model.inputs} == {"a": (None, None, 3), "b": (None, 5, 3)}
        with pytest.raises(ValueError, match=r"names \['c'\], but the inputs are \['a', 'b'\]"):
            load_backbone(path, input_shape={"c": (5, 3)})

    def test_wrong_shape(self, saved):
        with pytest.raises(ValueError, match=r"input_shape=\(7, 7, 3\) does not fit .*\(8, 8, 3\) without"):
            load_backbone(saved("residual"), input_shape=(7, 7, 3))
        with pytest.raises(ValueError, match=r"input_shape=\(6,\) does not fit .*'input_mask'"):
            load_backbone(saved("encoder"), input_shape={"input_mask": (6,)})

    def test_shape_of_an_unknown_input(self, saved):
        with pytest.raises(
            ValueError, match=r"input_shape names \['mask'\], but the inputs are \['input_mask'"
        ):
            load_backbone(saved("encoder"), input_shape={"mask": (5,)})

    def test_unknown_rank(self, saved):
        with pytest.raises(ValueError, match="leaves the shape of its input 0 open: pass input_shape"):
            load_backbone(saved("any_shape"))

    def test_unknown_output(self, saved):
        with pytest.raises(ValueError, match="no output 'logits'.*'pooled_output', 'sequence_output'"):
            load_backbone(saved("encoder"), output="logits")
        with pytest.raises(ValueError, match="outputs have no names"):
            load_backbone(saved("chain"), output="logits")


class Nested(tf.Module):
    """Inputs and outputs in dicts and lists inside of each other."""

    def __init__(self):
        self.kernel = tf.Variable(np.arange(6, dtype="float32").reshape(2, 3), name="kernel")
        a, b = (tf.TensorSpec((None, 2), name=name) for name in "ab")
        self.__call__ = tf.function(self.apply, input_signature=[{"left": a, "right": [b, a]}])

    def apply(self, x):
        left, (b, a) = x["left"] @ self.kernel, x["right"]
        levels = {"p3": left, "p4": [b @ self.kernel, a @ self.kernel * 2.0]}
        return {"levels": levels, "total": left + b @ self.kernel, "nothing": None}


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """The folder of a nested module, inputs for it, and what it gives."""
    path = str(tmp_path_factory.mktemp("nested") / "model")
    tf.saved_model.save(Nested(), path)
    x = [tf.constant(np.random.default_rng(i).normal(size=(3, 2)), tf.float32) for i in range(3)]
    x = {"left": x[0], "right": x[1:]}
    return path, x, tf.saved_model.load(path)(x)


class TestNested:
    """Paths through dicts and lists."""

    def test_all(self, nested):
        path, x, expected = nested
        got = load_backbone(path)(x)
        levels = expected["levels"]
        flat = [levels["p3"], *levels["p4"], expected["total"]]
        assert sorted(got) == ["levels_0", "levels_1", "levels_2", "total"]
        for g, e in zip([got[key] for key in sorted(got)], flat, strict=True):
            np.testing.assert_array_equal(g, e)

    @pytest.mark.parametrize(
        ("output", "pick"),
        [
            ("levels/p4/1", lambda e: e["levels"]["p4"][1]),
            ("levels_2", lambda e: e["levels"]["p4"][1]),
            ("levels/p4", lambda e: [*e["levels"]["p4"]]),
            ("levels", lambda e: {"p3": e["levels"]["p3"], "p4": [*e["levels"]["p4"]]}),
            (["total"], lambda e: {"total": e["total"]}),
            (
                ["total", "levels/p4/0", "total"],
                lambda e: {"total": e["total"], "levels/p4/0": e["levels"]["p4"][0]},
            ),
        ],
    )
    def test_chosen(self, output, pick, nested):
        path, x, expected = nested
        model = load_backbone(path, output=output)
        tf.nest.map_structure(np.testing.assert_array_equal, model(x), pick(expected))
        assert len(model.outputs) == len(tf.nest.flatten(pick(expected)))

    @pytest.mark.parametrize("output", ["levels/p5", "p3", "levels/p4/2", ["total", "p3"], [], "nothing", ""])
    def test_unknown(self, output, nested):
        with pytest.raises(
            ValueError, match=r"no output .*It has \['levels/p3', 'levels/p4/0', 'levels/p4/1', 'total'\]"
        ):
            load_backbone(nested[0], output=output)

    def test_shape_of_an_input_by_its_path(self, nested):
        with pytest.raises(ValueError, match=r"input_shape=\(7,\) does not fit"):
            load_backbone(nested[0], input_shape={"right/0": (7,)})

    def test_lists(self, tmp_path):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)])
        path = export.to_saved_model(model, tmp_path / "model")
        x = np.ones((2, 4), "float32")
        for name in ("1", "output_1"):
            np.testing.assert_allclose(load_backbone(path, output=name)(x), model(x)[1], rtol=1e-6)
        assert sorted(load_backbone(path)(x)) == ["output_0", "output_1"]


class TestKinds:
    """Inputs that are no dense tensors."""

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (
                tf.RaggedTensorSpec((None, None), tf.float32),
                "input 'x' is no dense tensor but a RaggedTensor",
            ),
            (tf.SparseTensorSpec((None, 2), tf.float32), "input 'x' is no dense tensor but a SparseTensor"),
        ],
    )
    def test_refused_by_name(self, spec, message, tmp_path):
        module = tf.Module()
        module.weight = tf.Variable(2.0)

        def apply(x):
            dense = x.to_tensor() if isinstance(spec, tf.RaggedTensorSpec) else x
            dense = tf.sparse.to_dense(dense) if isinstance(spec, tf.SparseTensorSpec) else dense
            return dense * module.weight

        module.__call__ = tf.function(apply)
        module.__call__.get_concrete_function(spec)
        tf.saved_model.save(module, str(tmp_path / "model"))
        with pytest.raises(ValueError, match=message):
            load_backbone(tmp_path / "model")
