"""`kerasft export --image-size`: the file takes the other size, and what that costs is measured."""

import json

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from command_line import digits as load_digits
from command_line import kerasft_command, tiny_backbone

from kerasft.commands.export_size import resized
from kerasft.data import load_dataset
from kerasft.hub import load_backbone

SIDE, OTHER = 16, 12


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier of digits that takes any size, trained for a moment at one."""
    data = load_digits(600)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for i, width in enumerate((16, 32)):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=f"conv_{i}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(data.train, epochs=12, verbose=0, shuffle=False)
    path = tmp_path_factory.mktemp("digits") / "model.keras"
    model.save(path)
    return path, model


def accuracy(model, side, run=None):
    """By Keras alone, or by LiteRT alone: the same layers without a fixed size."""
    inputs = x = keras.Input((None, None, 3))
    for layer in model.layers[1:]:
        x = layer(x)
    free = keras.Model(inputs, x)
    data = load_dataset("digits", image_size=side, limit=600)
    right = []
    for images, labels in data.test:
        if run is None:
            scores = free.predict(images, verbose=0)
        else:
            scores = np.concatenate([run(image=image[None].numpy())["scores"] for image in images])
        right.append(scores.argmax(1) == labels.numpy())
    return np.concatenate(right).mean()


def command(path, out, *words):
    return kerasft_command(
        "export", path, "--out", out, "--data", "digits", "--limit", 600, "--image-size", OTHER, *words
    )


@pytest.mark.process
def test_the_file_takes_the_other_size_and_both_accuracies_are_told(trained, tmp_path):
    path, model = trained
    status, output = command(path, tmp_path / "m.tflite", "--json")
    assert status == 0, output
    report = json.loads(output[output.index("{\n") : output.rindex("}") + 1])
    assert report["inputs"][0]["shape"] == [1, OTHER, OTHER, 3]
    before, after = accuracy(model, SIDE), accuracy(model, OTHER)
    run = Interpreter(str(tmp_path / "m.tflite")).get_signature_runner()
    assert report["quality"]["accuracy_model"] == pytest.approx(after)
    assert report["quality"]["accuracy_file"] == pytest.approx(accuracy(model, OTHER, run))
    words = " ".join(output.split())
    assert f"right on {before:.4f} at 16 × 16" in words and f"on {after:.4f} at 12 × 12" in words
    assert before > after + 0.02  # so the size has a cost here


@pytest.mark.process
def test_the_cost_of_the_size_counts_in_max_drop(trained, tmp_path):
    path, _ = trained
    status, output = command(path, tmp_path / "m.tflite", "--max-drop", 0.01)
    assert status == 1 and "the model itself loses" in " ".join(output.split())
    assert not list(tmp_path.iterdir())
    status, output = command(path, tmp_path / "m.tflite", "--max-drop", 0.9)
    assert status == 0, output


def test_a_layer_of_one_size_is_named(tmp_path):
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="scores")(x)).save(
        tmp_path / "m.keras"
    )
    status, output = command(tmp_path / "m.keras", tmp_path / "m.tflite")
    assert status == 1 and "'scores' (Dense) has the weight 'kernel'" in " ".join(output.split())
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_a_hub_backbone_takes_another_size(tmp_path):
    """Against the same backbone, loaded at that size."""
    handle = tiny_backbone(tmp_path, normalized=True, side=None)

    def classifier(side):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((side, side, 3), name="image")
        x = load_backbone(handle, input_shape=(side, side, 3))(keras.layers.Rescaling(1 / 255)(inputs))
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(4, name="scores")(x))

    x = np.random.default_rng(0).uniform(0, 255, (2, OTHER, OTHER, 3)).astype("float32")
    found, expected = resized(classifier(SIDE), OTHER), classifier(OTHER)
    np.testing.assert_allclose(found.predict(x, verbose=0), expected.predict(x, verbose=0), rtol=1e-5)
    model = classifier(SIDE)
    assert resized(model, SIDE) is model
