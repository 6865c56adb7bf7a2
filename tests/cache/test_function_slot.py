"""A function that stands in for a model's own is taken out again, and a new one is noticed."""

import keras
import pytest

from kerasft.cache.function_slot import FunctionSlot


@pytest.mark.parametrize("training", [True, False])
def test_in_and_out(training):
    model, name = keras.Sequential([]), "train_function" if training else "test_function"
    slot = FunctionSlot(model, training)

    def own(iterator):
        return "own"

    def other(iterator):
        return "other"

    setattr(model, name, own)
    assert slot.stock is None and not slot.has_stock()
    slot.adopt()
    assert slot.stock is own and slot.has_stock() and not slot.has(other)
    slot.put(other)
    assert getattr(model, name) is other and slot.has(other) and not slot.has_stock()
    slot.take_out(own)  # which is not in place
    assert getattr(model, name) is other
    slot.take_out(other)
    assert getattr(model, name) is own
    setattr(model, name, None)  # Keras, when the step is to be traced again
    assert not slot.has(other) and not slot.has_stock()
