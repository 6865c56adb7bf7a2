"""Shared by all tests: a quiet TensorFlow, marks, order, seeds, and two tiny models."""

import gc
import os
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import processes
import pytest
import untuned_data  # noqa: F401  # switches the tuner of tf.data off

gc.freeze()  # the million objects of TensorFlow's modules are not searched for garbage again and again


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes or train, and bring files with slow tests first.

    So the last tests of a run are short, and both workers are busy to the end.
    """
    processes.mark(items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """In a run without processes, hold each test to that."""
    if "process" in item.config.option.markexpr and not item.get_closest_marker("process"):
        processes.watch(item)
    try:
        return (yield)
    finally:
        processes.release()


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture
def dense_model() -> keras.Model:
    """Three dense stages in a row: `first`, `second`, `top`."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu", name="first"),
            keras.layers.Dense(5, activation="relu", name="second"),
            keras.layers.Dense(3, name="top"),
        ],
        name="net",
    )


def build_backbone() -> keras.Model:
    """A small residual network with BatchNormalization: stem, block_1, block_2."""
    inputs = x = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem_conv")(x)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.ReLU()(x)
    for block in (1, 2):
        y = keras.layers.Conv2D(4, 3, padding="same", name=f"block_{block}_a_conv")(x)
        y = keras.layers.BatchNormalization(name=f"block_{block}_a_bn")(y)
        y = keras.layers.Conv2D(4, 3, padding="same", name=f"block_{block}_b_conv")(y)
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    return keras.Model(inputs, x, name="backbone")


@pytest.fixture
def make_backbone() -> Callable[[], keras.Model]:
    """Builds the small backbone."""
    return build_backbone


@pytest.fixture
def image_model() -> keras.Model:
    """The small backbone nested in a classifier of three classes."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = build_backbone()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(x), name="classifier")


@pytest.fixture
def image_data() -> tuple[np.ndarray, np.ndarray]:
    """24 images and labels."""
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (24, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 24)
