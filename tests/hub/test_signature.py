"""Inputs and outputs of a SavedModel: shapes, dtypes, names and structures."""

import keras
import pytest

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
