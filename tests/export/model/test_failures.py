"""Errors of layers are told with the layer's name."""

import keras
import numpy as np
import pytest
from kerasft.export.errors import ExportError
from kerasft.export.model.failures import failed_layer, plain, told

layers = keras.layers


class Broken(layers.Layer):
    def call(self, inputs):
        raise ZeroDivisionError("of my own")


@pytest.mark.parametrize("filtering", [True, False])
def test_the_innermost_layer_is_named_and_filtering_stays_as_it_was(filtering):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="fine")], name="net")
    said = r"'net' fails: the layer 'mine' \(Broken\) fails\. ZeroDivisionError: of my own\. Mend it\."
    if not filtering:
        keras.config.disable_traceback_filtering()
    try:
        with pytest.raises(ExportError, match=said), told(model, "fails", "Mend it."):
            Broken(name="mine")(np.zeros((1, 4)))
        assert keras.config.is_traceback_filtering_enabled() is filtering
    finally:
        keras.config.enable_traceback_filtering()


def test_errors_that_are_told_already_and_interrupts_pass():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ExportError, match="^told$"), told(model, "fails", ""):
        raise ExportError("told")
    with pytest.raises(KeyboardInterrupt), told(model, "fails", ""):
        raise KeyboardInterrupt
    with (
        pytest.raises(ExportError, match=r"fails\. ValueError: elsewhere\.") as caught,
        told(model, "fails", ""),
    ):
        raise ValueError("elsewhere")
    assert failed_layer(caught.value) == ""


def test_messages_are_plain():
    assert plain("\x1b[1ma\n  b\x1b[0m") == "a b."
    assert plain("x" * 500) == "x" * 400 + " …"
