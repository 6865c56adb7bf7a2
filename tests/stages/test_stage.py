"""Stages: depths by number and name, and the table."""

import pytest

from kerasft.stages.find import find_stages
from kerasft.stages.stage import Stage, Stages


def test_depths_by_number_and_name(dense_model):
    stages = find_stages(dense_model)
    assert [stages.depth(d) for d in ("first", "top", 0, 3)] == [0, 2, 0, 3]
    with pytest.raises(ValueError, match=r"'nose'.*\['first', 'second', 'top'\]"):
        stages.depth("nose")
    with pytest.raises(ValueError, match="0 .*to 3"):
        stages.depth(4)
    for wrong in (1.5, True, None):
        with pytest.raises(TypeError, match="integer or a stage's name"):
            stages.depth(wrong)


def test_print_shows_a_table(dense_model):
    text = str(find_stages(dense_model))
    dense_model.get_layer("first").trainable = False
    frozen = str(find_stages(dense_model))
    assert "(None, 5)" in text and "35" in text  # second: 6 * 5 + 5 parameters
    assert "no" not in text.split("first")[1].split("\n")[0]
    assert "no" in frozen.split("first")[1].split("\n")[0]


def test_a_stage_counts_the_weights_its_layers_own(image_model):
    backbone = image_model.get_layer("backbone")
    stage = Stage("both", (image_model, backbone.get_layer("stem_conv"), backbone.get_layer("stem_bn")))
    assert stage.parameters == 3 * 3 * 3 * 4 + 4 + 4 * 4  # kernel, bias; scale, offset, mean, variance
    assert stage.trainable and stage.output_shape is None
    stages = Stages(image_model, [stage])
    assert "?" in str(stages) and repr(stages) == "<Stages of 'classifier': both>"
