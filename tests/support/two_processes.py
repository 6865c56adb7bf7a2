"""One half of a proof that takes two processes: `save FOLDER` trains and saves, `load FOLDER` goes on.

Prints one line for each case whose weights differ from those of the run that was not interrupted.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import optimizer_cases as cases
import tensorflow as tf

import kerasft
from kerasft import _keras

OPTIONS = [
    "plain", "weight_decay", "unscaled_decay", "excluded_from_decay", "clipnorm", "accumulation",
    "ema", "loss_scale", "schedule",
]  # fmt: skip
WAYS = {option: ["keras"] for option in OPTIONS} | {
    option: ["keras", "weights", "checkpoint"] for option in ("plain", "accumulation", "ema", "loss_scale")
}
# Every optimizer as it is, and with each option those whose state differs in kind: moments, one momentum,
# rows and columns, a list of a user's own.
CASES = [(name, "plain") for name in cases.OPTIMIZERS] + [
    (name, option) for name in ("AdamW", "Momentum", "Adafactor", "Own") for option in OPTIONS[1:]
]
FIRST, ALL = 6, 12  # steps before the file is written, and in all


def build(name: str, option: str) -> keras.Model:
    """Two layers, the lower one thawed late."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="slow"),
            keras.layers.Dense(2, name="fast"),
            keras.layers.Dense(2, name="still", use_bias=False),
        ],
        name="net",
    )
    optimizer = cases.with_factors(name, option)
    kerasft.with_lr_multipliers(
        optimizer,
        {"slow": cases.FACTOR, "still": 0.0},
        model=model,
        scale_weight_decay=option != "unscaled_decay",
    )
    if option == "excluded_from_decay":
        inner = _keras.inner_optimizer(optimizer)
        inner.exclude_from_weight_decay(var_list=[model.layers[0].kernel], var_names=["bias"])
    model.compile(optimizer, "mse")
    kerasft.freeze(model, "fast")
    optimizer.build(model.trainable_variables)
    return model


def train(model: keras.Model, begin: int, end: int, option: str) -> None:
    """Steps with fixed gradients; the lower layer is thawed at step 2, frozen at 6 and thawed at 8."""
    for step in range(begin, end):
        if step in (2, 8):
            kerasft.unfreeze(model)
        if step == FIRST:
            kerasft.freeze(model, "fast")
        rng = np.random.default_rng(step)
        scale = 8.0 if option == "loss_scale" else 1.0
        values = {v.path: rng.normal(size=v.shape) * scale for v in model.weights}
        given = [tf.constant(values[v.path], "float32") for v in model.trainable_variables]
        model.optimizer.apply(given, model.trainable_variables)


def load(way: str, path: Path, name: str, option: str) -> keras.Model:
    """The model as it was saved, half frozen."""
    if way == "keras":
        return keras.models.load_model(f"{path}.keras")
    model = build(name, option)
    if way == "weights":
        model.load_weights(f"{path}.weights.h5")
        return model
    kerasft.unfreeze(model)  # object-based checkpoints need the variables to exist
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).read(f"{path}.ckpt").expect_partial()
    kerasft.freeze(model, "fast")
    return model


def main(mode: str, folder: Path) -> None:
    """Run one half."""
    for name, option in CASES:
        path = folder / f"{name}-{option}"
        if mode == "save":
            model = build(name, option)
            train(model, 0, FIRST, option)
            kerasft.freeze(model, "fast")
            model.save(f"{path}.keras")
            model.save_weights(f"{path}.weights.h5")
            tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(f"{path}.ckpt")
            train(model, FIRST, ALL, option)
            model.optimizer.finalize_variable_values(model.trainable_weights)
            np.savez(f"{path}.npz", *model.get_weights())
            continue
        with np.load(f"{path}.npz") as stored:
            expected = list(stored.values())
        for way in WAYS[option]:
            model = load(way, path, name, option)
            before = model.get_weights()
            train(model, FIRST, ALL, option)
            model.optimizer.finalize_variable_values(model.trainable_weights)
            differences = [np.abs(a - b).max() for a, b in zip(expected, model.get_weights())]
            moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
            if max(differences) > 1e-6 or moved != [True] * 4 + [False]:
                print(name, option, way, differences, moved)
    print("done", mode)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
