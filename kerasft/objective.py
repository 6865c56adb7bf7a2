"""A search's objective that is measured on the exported file: accuracy on the device, under caps."""

from __future__ import annotations

import inspect
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from kerasft import export

logger = logging.getLogger(__name__)

NAME = "exported_accuracy"
KNOWN = ("float32", "float16", "dynamic", "weight_only", "int8")


class ExportedAccuracy(keras_tuner.Objective):
    """The accuracy of a trial's exported .tflite file on its validation data, for tuners' `objective`.

    At the end of a trial its best epoch is exported and run in LiteRT. A file that exceeds a cap, or can't be
    made, has an accuracy of 0, and the trial's record says why.

    Args:
        precision: "float32", "float16", "dynamic", "weight_only" or "int8". One that `kerasft.export` can't
            write yet is measured as float32, which a warning says.
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
        if precision not in KNOWN:
            raise ValueError(f"precision is one of {list(KNOWN)}, not {precision!r}.")
        self.precision, self.max_bytes, self.max_ms = precision, max_bytes, max_ms

    @property
    def measured_precision(self) -> str:
        """What is exported: float32 where this version of kerasft can't export `precision`."""
        return self.precision if self.precision in export.PRECISIONS else "float32"

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
            training: Training data, for precisions that need representative data.

        Returns:
            The accuracy, size in bytes and latency in milliseconds by name; and why the accuracy is 0, or "".
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.tflite"
            precision = self.measured_precision
            if precision != self.precision:
                logger.warning("%s can't be exported yet: float32 is measured in its place.", self.precision)
            options: dict[str, Any] = {"precision": precision, "holdout": holdout}
            if (
                precision == "int8"
                and "representative_data" in inspect.signature(export.to_tflite).parameters
            ):
                options["representative_data"] = training
            try:
                report = export.to_tflite(model, path, **options)
            except export.ExportError as error:
                return {NAME: 0.0}, f"It can't be exported: {error}"
            found = {"exported_bytes": float(report.size_bytes), "exported_ms": latency_ms(path)}
            if report.accuracy_file is None:
                raise keras_tuner.errors.FatalValueError(
                    "ExportedAccuracy needs a classifier with one output of scores, and validation data with "
                    "integer labels."
                )
        over = []
        if self.max_bytes is not None and report.size_bytes > self.max_bytes:
            over.append(f"{report.size_bytes:,} bytes exceed max_bytes={self.max_bytes:,}")
        if self.max_ms is not None and found["exported_ms"] > self.max_ms:
            over.append(f"{found['exported_ms']:.1f} ms exceed max_ms={self.max_ms}")
        return {NAME: 0.0 if over else float(report.accuracy_file), **found}, "; ".join(over)


def holdout_of(validation_data: Any) -> Any:
    """The inputs and labels of `fit`'s validation data, sample weights left out; None for what has none.

    Args:
        validation_data: A pair or triple of arrays, or a `tf.data.Dataset` of batches.
    """
    if isinstance(validation_data, tf.data.Dataset):
        return validation_data.map(lambda x, y, *weight: (x, y))
    if isinstance(validation_data, list | tuple) and len(validation_data) >= 2:
        return tuple(validation_data[:2])
    return None


def proxy(logs: Mapping[str, float]) -> keras_tuner.Objective:
    """What tells the best epoch of a trial whose file is measured behind its end."""
    names = sorted(name for name in logs if name.startswith("val_") and name.endswith(("accuracy", "acc")))
    return keras_tuner.Objective(names[0], "max") if names else keras_tuner.Objective("val_loss", "min")


def latency_ms(path: Path, runs: int = 20) -> float:
    """The median time of one call of a .tflite file on one thread, in milliseconds."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    runner = interpreter.get_signature_runner()
    inputs = {
        name: np.zeros(said["shape"], said["dtype"]) for name, said in runner.get_input_details().items()
    }
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        runner(**inputs)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times) if times else math.nan
