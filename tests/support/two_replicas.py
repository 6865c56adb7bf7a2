"""Trains on two logical CPUs and on one, and prints every case whose weights differ.

Without factors the reference would be Keras alone, which can't thaw: so one device is the reference here,
and the tests of one device hold that one against Keras.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optimizer_cases as cases
import tensorflow as tf

import kerasft

# Left out: clipping, which Keras does for each replica; accumulation and overwriting by averages, which Keras
# refuses to do in replicas.
# Optimizers whose state differs in kind.
KINDS = ("AdamW", "Momentum", "Adafactor", "Lamb", "Muon", "ScheduleFreeAdamW", "Own")
CASES = [(name, "plain") for name in KINDS] + [
    (name, option)
    for name in ("AdamW", "Momentum")
    for option in ("weight_decay", "ema", "schedule", "loss_scale", "l2_sp")
]


def train(name: str, option: str) -> list[np.ndarray]:
    """Weights after four epochs of two steps, the lower layer thawed after two."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation="tanh", name="slow")(inputs)
    x = keras.layers.Dense(2, activation="tanh", name="fast")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="top")(x))
    anchored = option == "l2_sp"
    optimizer = cases.with_factors(name, "plain" if anchored else option)
    kerasft.with_lr_multipliers(optimizer, {"slow": cases.FACTOR}, model=model)
    if anchored:
        kerasft.with_l2_sp(optimizer, 5.0, model, shared="top")
    model.compile(optimizer, "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 3)).astype("float32"), rng.normal(size=(16, 2)).astype("float32")
    schedule = [kerasft.Phase("fast", 2), kerasft.Phase(0, warmup_steps=2)]
    callbacks = [kerasft.GradualUnfreezing(schedule)]
    model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
    return [np.array(w) for w in model.get_weights()]


def main() -> None:
    """Compare."""
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name, option in CASES:
        expected = train(name, option)
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            weights = train(name, option)
        differences = [float(np.abs(a - b).max()) for a, b in zip(expected, weights, strict=True)]
        if max(differences) > 1e-5:
            print(name, option, differences)
    print("done", len(CASES))


if __name__ == "__main__":
    main()
