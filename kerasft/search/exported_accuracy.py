"""A search's objective that is measured on the exported file: accuracy on the device, under caps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from kerasft.export import PRECISIONS, ExportError, to_tflite
from kerasft.files import scratch

NAME = "exported_accuracy"


class ExportedAccuracy(keras_tuner.Objective):
    """The accuracy of a trial's exported .tflite file on its validation data, for tuners' `objective`.

    At the end of a trial its best epoch is exported and run in LiteRT. A file that exceeds a cap, or can't be
    made, has an accuracy of 0, and the trial's record says why.

    Args:
        precision: "float32", "float16", "dynamic", "weight_only" or "int8", which is calibrated on the
            training data.
        max_bytes: The largest file, in bytes; None for any.
        max_ms: The longest time of one image on this machine, in milliseconds, on one thread; None for any.

    Raises:
        ValueError: There is no such precision, or a cap is not above 0.

    Example:
        >>> ExportedAccuracy("float16", max_bytes=3_000_000).name
        'exported_accuracy'
    """

    def __init__(
        self, precision: str = "float32", max_bytes: int | None = None, max_ms: float | None = None
    ) -> None:
        super().__init__(NAME, "max")
        for name, cap in (("max_bytes", max_bytes), ("max_ms", max_ms)):
            if cap is not None and not cap > 0:
                raise ValueError(f"{name} is above 0; received {cap!r}.")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {list(PRECISIONS)}, not {precision!r}.")
        self.precision, self.max_bytes, self.max_ms = precision, max_bytes, max_ms

    def __str__(self) -> str:
        caps = "".join(
            f", {name}={cap}"
            for name, cap in (("max_bytes", self.max_bytes), ("max_ms", self.max_ms))
            if cap is not None
        )
        return f"ExportedAccuracy({self.precision!r}{caps})"

    def measure(self, model: keras.Model, holdout: Any, training: Any = None) -> tuple[dict[str, float], str]:
        """Export a trained classifier, and measure the file.

        Args:
            model: The model.
            holdout: Labelled data, as `kerasft.export.to_tflite` takes them.
            training: Training data, on which int8 is calibrated.

        Returns:
            The accuracy, size in bytes and latency in milliseconds by name; and why the accuracy is 0, or "".
        """
        with scratch() as folder:
            path = folder / "trial.tflite"
            options: dict[str, Any] = {"precision": self.precision, "holdout": holdout}
            if self.precision == "int8":
                options["representative_data"] = training
            try:
                report = to_tflite(model, path, **options)
            except ExportError as error:
                return {NAME: 0.0}, f"It can't be exported: {error}"
            found = {"exported_bytes": float(report.size_bytes), "exported_ms": report.speed.ms["1"]}
            if report.accuracy_file is None:
                raise keras_tuner.errors.FatalValueError(
                    "ExportedAccuracy needs a classifier with one output of scores, and validation data with "
                    f"labels; no accuracy was measured, as {report.not_measured}."
                )
        over = []
        if self.max_bytes is not None and report.size_bytes > self.max_bytes:
            over.append(f"{report.size_bytes:,} bytes exceed max_bytes={self.max_bytes:,}")
        if self.max_ms is not None and found["exported_ms"] > self.max_ms:
            over.append(f"{found['exported_ms']:.1f} ms exceed max_ms={self.max_ms}")
        return {NAME: 0.0 if over else float(report.accuracy_file), **found}, "; ".join(over)


def holdout_of(validation_data: Any) -> Any:
    """`fit`'s validation data as `kerasft.export` takes them; None for what has no labels.

    Sample weights stay: what has the weight 0 is padding, and does not count.

    Args:
        validation_data: A pair or triple of arrays, or a `tf.data.Dataset` of batches.
    """
    if isinstance(validation_data, tf.data.Dataset):
        return validation_data
    if isinstance(validation_data, list | tuple) and len(validation_data) >= 2:
        return tuple(validation_data[:3])
    return None


def proxy(logs: Mapping[str, float]) -> keras_tuner.Objective:
    """The objective that chooses the best epoch of a trial whose file is measured after its end."""
    names = sorted(name for name in logs if name.startswith("val_") and name.endswith(("accuracy", "acc")))
    return keras_tuner.Objective(names[0], "max") if names else keras_tuner.Objective("val_loss", "min")
