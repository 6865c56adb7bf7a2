"""Where the original's head begins: in the one tensor that it is computed from, or nowhere."""

import keras
import pytest

from kerasft.retention.old_head import inputs_of, old_scores
from kerasft.retention.pairing import pair


def two_ways(units, name):
    """A body of two layers, both of which the head reads."""
    inputs = keras.Input((4,))
    a = keras.layers.Dense(3, name="a")(inputs)
    b = keras.layers.Dense(3, name="b")(a)
    return keras.Model(inputs, keras.layers.Dense(units, name=name)(keras.layers.Concatenate()([a, b])))


def test_a_tensor_that_joins_all_that_the_head_reads_is_where_it_begins():
    model, original = two_ways(2, "new"), two_ways(5, "old")
    for mine, theirs in zip(model.layers[:3], original.layers[:3], strict=True):
        mine.set_weights(theirs.get_weights())
    (scores,) = old_scores(pair("f", model, original, shared="new"), original)
    both = keras.Model(inputs_of(model), [model.output, scores])
    assert [layer.name for layer in both.layers[-2:]] == ["new", "original_old"]
    assert len([layer for layer in both.layers if layer.weights]) == 4


def test_a_head_that_reads_two_tensors_is_refused():
    def net(units):
        inputs = keras.Input((4,))
        a = keras.layers.Dense(3, name="a")(inputs)
        b = keras.layers.Dense(3, name="b")(a)
        first = keras.layers.Dense(units, name=f"first_{units}")(a)
        return keras.Model(inputs, keras.layers.Add()([first, keras.layers.Dense(units)(b)]))

    model, original = net(2), net(5)
    from kerasft.stages import find_stages

    shared = find_stages(model, at=["a", "b", "first_2"]), find_stages(original, at=["a", "b", "first_5"])
    with pytest.raises(ValueError, match="does not end in one tensor"):
        old_scores(pair("f", *shared, shared=2), original)
