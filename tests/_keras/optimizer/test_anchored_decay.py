"""Decay towards anchors in the optimizer: as slots, and through growth. See also tests/retention."""

import keras
import numpy as np

from kerasft._keras.optimizer.anchors import has_anchors, has_trained, set_anchors
from kerasft._keras.optimizer.growth import extend_optimizer
from kerasft._keras.optimizer.settings import description


def variables():
    """Two weights of one path, and one of another."""
    return [keras.Variable(np.full(2, float(i)), name=name) for i, name in enumerate(("w", "w", "v"), 1)]


def anchored(held, given):
    optimizer = keras.optimizers.SGD(0.5)
    set_anchors(optimizer, 0.5, [(v, None if a is None else np.full(2, a)) for v, a in zip(held, given)])
    return optimizer


def step(optimizer, held):
    optimizer.apply([np.zeros(2, "float32")] * len(held), held)
    return [float(v.numpy()[0]) for v in held]


def test_weights_of_one_path_keep_their_own_anchors():
    held = variables()
    optimizer = anchored(held, [None, 0.0, 7.0])
    optimizer.build(held)
    # 2 - .5 * .5 * (2 - 0) = 1.5, and 3 - .25 * (3 - 7) = 4
    assert step(optimizer, held) == [1.0, 1.5, 4.0]


def test_an_optimizer_that_grows_keeps_its_anchors_and_takes_the_new_ones():
    held = variables()
    optimizer = anchored(held, [None, 0.0, 7.0])
    optimizer.build(held[2:])
    assert step(optimizer, held[2:]) == [4.0]
    extend_optimizer(optimizer, held)
    assert step(optimizer, held) == [1.0, 1.5, 4.75]  # 4 - .25 * (4 - 7)
    assert not [name for name in optimizer.scalars() if name.startswith("other")]


def test_anchors_may_change_while_it_trains():
    held = variables()
    optimizer = anchored(held, [0.0, None, None])
    optimizer.build(held)
    assert step(optimizer, held) == [0.75, 2.0, 3.0]
    set_anchors(optimizer, 1.0, [(held[0], None), (held[1], np.zeros(2)), (held[2], None)])
    assert step(optimizer, held) == [0.75, 1.0, 3.0]
    set_anchors(optimizer, 0.5, None)
    assert step(optimizer, held) == [0.75, 0.75, 3.0]
    assert has_anchors(optimizer) and has_trained(optimizer) and not has_anchors(keras.optimizers.SGD())


def test_a_plain_state_leaves_the_anchors_alone(tmp_path):
    held = variables()
    plain = keras.optimizers.SGD(0.5, momentum=0.5)
    plain.build(held)
    state = {}
    plain.save_own_variables(state)
    optimizer = keras.optimizers.SGD(0.5, momentum=0.5)
    set_anchors(optimizer, 0.5, [(v, np.zeros(2)) for v in held])
    optimizer.build(held)
    optimizer.load_own_variables({key: np.asarray(value) for key, value in state.items()})
    assert [float(optimizer.anchor_of(v).numpy()[0]) for v in held] == [0.0, 0.0, 0.0]


def test_the_strength_is_a_part_of_the_description():
    optimizer = anchored(variables(), [0.0, 0.0, 0.0])
    assert description(optimizer)["l2_sp"] == 0.5
    assert "l2_sp" not in description(keras.optimizers.SGD())
