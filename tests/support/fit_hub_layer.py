"""Fine-tunes a SavedModel as Keras 2 does, by hub.KerasLayer: `fit_hub_layer.py MODEL DATA.npz FOUND.npz`."""

import sys

import numpy as np
import tensorflow_hub
import tf_keras


def fit(path: str, data: dict, trainable: bool) -> tuple:
    """A layer before and after some epochs, and the losses."""
    layer = tensorflow_hub.KerasLayer(path, trainable=trainable)
    model = tf_keras.Sequential([tf_keras.layers.Input((8, 8, 3)), layer])
    model.compile(
        tf_keras.optimizers.Adam(0.02), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    found = {"loaded": model.predict(data["images"], verbose=0)}
    before = {v.name.removesuffix(":0"): v.numpy() for v in layer.weights}
    found["trainable"] = np.array([v.name.removesuffix(":0") for v in layer.trainable_weights])
    found["penalty"] = np.array(sum(float(loss) for loss in layer.losses))
    history = model.fit(data["images"], data["labels"], epochs=30, verbose=0)
    found["losses"] = np.array(history.history["loss"])
    after = {v.name.removesuffix(":0"): v.numpy() for v in layer.weights}
    return found, before, after


def main(path: str, data: str, out: str) -> None:
    """Fit with the layer thawed, then with it frozen."""
    arrays = dict(np.load(data))
    found, before, after = fit(path, arrays, trainable=True)
    _, _, frozen = fit(path, arrays, trainable=False)
    named = {"before": before, "after": after, "frozen": frozen}
    np.savez(out, **found, **{f"{k}/{n}": v for k, values in named.items() for n, v in values.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
