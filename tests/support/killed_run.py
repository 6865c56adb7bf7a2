"""A training run that is killed and started again by tests: `killed_run.py FOLDER [plain]`.

Writes `begun` when training begins and the final weights to `weights.npz`. Shuffled data, dropout,
BatchNormalization, patience, a warm-up, averages and a re-freeze: all that a resume has to get right.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import kerasft

EPOCHS, SAMPLES, BATCH = 7, 64, 8


def build() -> keras.Model:
    """A compiled model of four stages."""
    inputs = keras.Input((6,))
    x = inputs
    for name in ("low", "middle", "high"):
        x = keras.layers.Dense(8, name=f"{name}_dense")(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = keras.layers.Dropout(0.2, name=f"{name}_dropout")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="top")(x))
    optimizer = kerasft.with_lr_multipliers(
        keras.optimizers.AdamW(0.01, weight_decay=0.01, use_ema=True, ema_momentum=0.9),
        kerasft.layerwise_decay(stages(model), 0.7),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def stages(model: keras.Model) -> kerasft.Stages:
    """Its stages."""
    return kerasft.find_stages(model, at=["low_dense", "middle_dense", "high_dense", "top"])


SCHEDULE = kerasft.UnfreezingSchedule(
    [
        kerasft.Phase("top", epochs=2, monitor="val_loss"),
        kerasft.Phase("middle_dense", epochs=2, patience=1, monitor="val_loss", warmup_steps=5),
        kerasft.Phase("top", epochs=1, learning_rate=0.005),
        kerasft.Phase(0, patience=3, monitor="val_accuracy"),
    ]
)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 6)).astype("float32")
    return x, (x[:, 0] * 2 + x[:, 1] > 0).astype("int32") + (x[:, 2] > 1)


class Slow(keras.callbacks.Callback):
    """Tells that training has begun, and takes time, so that a kill finds it inside a step."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__()
        self.folder, self.seconds = folder, seconds

    def on_train_batch_end(self, batch, logs=None):
        (self.folder / "begun").touch()
        time.sleep(self.seconds)


def main(folder: Path, *options: str) -> None:
    """Train, from where an earlier run was killed."""
    keras.utils.set_random_seed(7)
    model = build()
    x, y = data()
    if "keras" in options:
        backup = keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True)
    else:
        backup = kerasft.BackupAndRestore(folder / "backup")
    unfreezing = kerasft.GradualUnfreezing(SCHEDULE, stages=stages(model))
    seconds = float(os.environ.get("SECONDS_PER_STEP", "0"))
    callbacks = [unfreezing, backup, Slow(folder, seconds)]
    model.fit(
        x,
        y,
        validation_data=(x[:32], y[:32]),
        epochs=EPOCHS,
        batch_size=BATCH,
        verbose=0,
        callbacks=callbacks,
    )
    partial = folder / "partial.npz"
    np.savez(partial, *model.get_weights(), np.array(unfreezing.phase))
    partial.rename(folder / "weights.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
