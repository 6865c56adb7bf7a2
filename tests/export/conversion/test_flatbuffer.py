"""Finished files, rewritten: weights inside, unsigned edges, sizes of open axes."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.conversion.flatbuffer import sized_as, unsigned_edges
from kerasft.export.conversion.process import saved
from kerasft.export.conversion.variants import Variants
from quantizers import quantizer_name
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model of images with more weights than the quantizer leaves inside the file, as real ones have."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Dense(1500, activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dense(200, activation="relu")(x)
    return fitted(
        keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x)), epochs=3
    )


FLOAT_EDGES = [(kind, "float") for kind in ("float16", "weight_only", "dynamic", "int8")]


@pytest.mark.parametrize(("kind", "io"), [*FLOAT_EDGES, ("int8", "int8"), ("int8", "uint8")])
def test_weights_of_large_models_stand_inside_the_file(large, tmp_path, kind, io):
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path / "m.tflite"
    options = {"labels": ["dark", "grey", "bright"], "metadata": io != "int8"}
    report = export.to_tflite(
        large, path, precision=kind, io=io, representative_data=images(), holdout=images(40, 1), **options
    )
    content = path.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    assert report.made_by == quantizer_name() and report.metadata == options["metadata"]
    assert all(model.Buffers(i).Offset() == 0 for i in range(model.BuffersLength()))
    assert len(content) > 256 * 1024 and report.quality.drop < 0.05


def test_only_edges_that_are_converted_can_be_unsigned():
    with saved(classifier(), 1) as folder, pytest.raises(export.ExportError, match="can't be uint8"):
        unsigned_edges(Variants(folder, None).float32)


def test_open_axes_begin_with_the_size_of_a_sample():
    inputs = keras.Input((None, 3), name="x")
    model = keras.Model(inputs, keras.layers.Conv1D(2, 3, name="y")(inputs))
    with saved(model, 1) as folder:
        content = Variants(folder, None).float32
    sample = {"x": np.ones((1, 5, 3), "float32")}
    sized = sized_as(content, sample)
    (taken,) = Interpreter(model_content=sized).get_input_details()
    assert taken["shape"].tolist() == [1, 5, 3] and taken["shape_signature"].tolist() == [1, -1, 3]
    assert sized_as(sized, sample) is sized
