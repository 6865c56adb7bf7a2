"""All precisions of a model, with their contracts, against one int8 conversion by TFLite's converter.

    python benchmarks/export.py [--images 2048] [--holdout 2000] [--size 224] [--model lite0|mobilenet]
                                [--out FOLDER]

A head of ten classes is trained on Fashion-MNIST over EfficientNet-Lite0 (ImageNet weights) or MobileNetV2
(weights at random, so all of it is trained). Then `kerasft.export.ladder` writes six files, each loaded,
compared with the model and timed; beside it, the same SavedModel is converted to int8 by the converter alone.
After that the ladder runs once more with a labelled holdout, for the accuracies, and writes table and figure.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from kerasft import export
from kerasft.data import load_dataset

LITE0, MOBILENET = "lite0", "mobilenet"


def data_of(size: int, train: int, holdout: int) -> tuple[tf.data.Dataset, tf.data.Dataset, list[str]]:
    """Batches of Fashion-MNIST: images of 0…255 in three channels, and labels."""
    data = load_dataset("tfds:fashion_mnist", image_size=size, batch_size=32)
    return (
        data.train.unbatch().take(train).batch(32).prefetch(2),
        data.test.unbatch().take(holdout).batch(32).prefetch(2),
        list(data.class_names),
    )


def trained(name: str, size: int, train: tf.data.Dataset, epochs: int) -> keras.Model:
    """A classifier that was trained on top of EfficientNet-Lite0, or all of a MobileNetV2."""
    shape = (size, size, 3)
    inputs = keras.Input(shape, name="image")
    if name == LITE0:
        from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0

        backbone = build_efficientnet_lite0(classes=None, input_shape=shape, rescale=True)
        backbone.trainable = False
        x = backbone(inputs)
    else:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
        backbone = keras.applications.MobileNetV2(
            weights=None, include_top=False, input_shape=shape, pooling="avg"
        )
        for layer in backbone.layers:
            layer.momentum = 0.9  # of BatchNormalization's averages: there are few steps
        x = backbone(x)
    outputs = keras.layers.Dense(10, activation="softmax", name="scores")(keras.layers.Dropout(0.2)(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=epochs, verbose=2, shuffle=False)
    return model


def converter_int8(model: keras.Model, samples: list[np.ndarray]) -> tuple[float, int]:
    """Seconds and bytes of what one would write oneself: SavedModel, converter, representative data."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        size = len(converter.convert())
    return time.perf_counter() - begin, size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=(LITE0, MOBILENET), default=LITE0)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--holdout", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    train, holdout, labels = data_of(options.size, options.images, options.holdout)
    model = trained(options.model, options.size, train, options.epochs)
    golden = next(iter(holdout.unbatch().batch(16)))[0].numpy()
    samples = [image[None] for image, _ in train.unbatch().take(128).as_numpy_iterator()]
    with tempfile.TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        found = export.ladder(
            model, Path(scratch) / "ladder", holdout=golden, representative_data=train, labels=labels
        )
        mine = time.perf_counter() - begin
        theirs, size = converter_int8(model, samples)
        print(f"{len(found.reports)} files with their contracts   {mine:6.1f} s")
        print(f"one int8 file by the converter  {theirs:6.1f} s, {size / 1e6:.2f} MB, 128 samples as well")
        print(f"ratio                           {mine / theirs:6.2f}")
        floats, weights = found.reports["float32"], found.reports["weight_only"]
        print(f"largest difference of float32   {floats.parity.max_abs:.1e}")
        print(f"the same of float16, relative   {found.reports['float16'].parity.max_relative:.1e}")
        print(
            f"weight_only by float32          latency {weights.speed.ms['1'] / floats.speed.ms['1']:.2f}, "
            f"size {weights.size_bytes / floats.size_bytes:.2f}"
        )
        out = options.out or Path(scratch) / "out"
        print(
            export.ladder(
                model, out, holdout=holdout, representative_data=train, labels=labels, overwrite=True
            )
        )


if __name__ == "__main__":
    main()
