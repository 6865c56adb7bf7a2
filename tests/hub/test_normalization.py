"""scales_and_offsets: which weights belong to batch normalization."""

import pytest
import tensorflow as tf
from flat_graphs import data_of, flags_of, graphs

from kerasft.hub.divide import divide
from kerasft.hub.flatten import flatten
from kerasft.hub.normalization import scales_and_offsets


class TestScalesAndOffsets:
    """What belongs to batch normalization, told by the graph for inference."""

    @pytest.mark.parametrize(
        ("kind", "expected", "unclear"),
        [
            ("folded", ["body_bn/beta", "body_bn/gamma"], []),
            ("fused", ["body_bn/beta", "body_bn/gamma"], []),
            ("no_scale", [], []),
            ("by_hand", [], ["body_bn/moving_mean", "body_bn/moving_variance"]),
            ("in_kernel", ["body_bn/beta", "body_bn/gamma"], ["body_bn/moving_variance"]),
        ],
    )
    def test_by_how_it_is_written(self, kind, expected, unclear, saved):
        (inference, training), variables = graphs(saved(f"normed_{kind}"), (False, True))
        statistics = {index for index, _, _ in training.updates}
        found = scales_and_offsets(inference, variables, statistics)
        names = [sorted(variables[i].name.split(":")[0] for i in group) for group in found]
        assert names == [expected, unclear]
        parts, _ = divide(inference, training, variables)
        names = [
            sorted(variables[p.variables[i]].name.split(":")[0] for p in parts for i in getattr(p, key))
            for key in ("scales", "unclear")
        ]
        assert names == [expected, unclear]
        assert scales_and_offsets(inference, variables, set()) == (set(), set())

    @pytest.mark.parametrize("name", ["tf_keras", "residual", "residual_tensor_flag"])
    def test_in_a_network(self, name, saved, tf_keras_cnn):
        if name == "residual_tensor_flag":
            loaded = tf.saved_model.load(saved(name))
            (function,) = loaded.__call__.concrete_functions
            data = data_of(function)
            variables = list(function.variables)
            modes = [
                flatten(function, data, function.outputs, variables, flags_of(function, mode))
                for mode in (False, True)
            ]
        else:
            modes, variables = graphs(tf_keras_cnn if name == "tf_keras" else saved(name), (False, True))
        scales, unclear = scales_and_offsets(modes[0], variables, {i for i, _, _ in modes[1].updates})
        assert not unclear
        expected = [v.name for v in variables if "gamma" in v.name or "beta" in v.name]
        assert sorted(variables[i].name for i in scales) == sorted(expected) and expected
