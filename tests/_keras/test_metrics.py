"""The direction that a compiled metric says it has."""

import keras
import numpy as np

from kerasft._keras.metrics import metric_direction


def test_metrics_tell_their_direction_by_the_names_in_the_logs():
    inputs = keras.Input((2,))
    one, other = (keras.layers.Dense(1, name=name)(inputs) for name in ("one", "other"))
    model = keras.Model(inputs, {"one": one, "other": other})
    named = keras.metrics.AUC(name="gain")
    model.compile(
        "sgd",
        "mse",
        metrics={"one": [named, "mae"], "other": ["accuracy", "r2_score"]},
        weighted_metrics={"other": [keras.metrics.MeanSquaredError(name="cost")]},
        run_eagerly=True,
    )
    y = {"one": np.ones((3, 1)), "other": np.ones((3, 1))}
    logs = model.fit(np.ones((3, 2)), y, verbose=0).history
    assert {name: metric_direction(model, f"val_{name}") for name in logs} == {
        "loss": None,
        "one_loss": None,
        "other_loss": None,
        "one_gain": "max",
        "one_mae": "min",
        "other_accuracy": "max",
        "other_r2_score": "max",
        "other_cost": "min",
    }
    assert metric_direction(model, "gain") == "max" and metric_direction(model, "again") is None
