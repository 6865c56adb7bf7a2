"""The process in which TFLite's converter runs: `python converter.py`, one JSON request a line.

It imports TensorFlow alone, so that it is ready while the model is still being written, and a crash of the
converter takes nothing else with it. A request names a SavedModel, the file to write, a precision, and for
int8 the calibration samples (an .npz of arrays named `INDEX/INPUT`) and the dtype of inputs and outputs.
It may name the signatures; by default that is serving_default.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any


def convert(request: dict[str, Any]) -> None:
    """Convert a SavedModel as a request says, and write the file."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        request["saved_model"], signature_keys=request.get("signatures", ["serving_default"])
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if request["precision"] != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request["precision"] == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if request["precision"] == "int8":
        converter.representative_dataset = lambda: _calibration_samples(request["samples"])
        converter.inference_input_type = converter.inference_output_type = {
            "float": tf.float32, "int8": tf.int8, "uint8": tf.uint8,
        }[request["io"]]  # fmt: skip
        # last: the assignments above would add built-ins in float again
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content = converter.convert()
    with open(request["out"], "wb") as file:
        file.write(content)


def _calibration_samples(path: str) -> Iterator[dict[str, Any]]:
    import numpy as np

    with np.load(path) as arrays:
        rows: dict[int, dict[str, Any]] = {}
        for key in arrays.files:
            index, name = key.split("/", 1)
            rows.setdefault(int(index), {})[name] = arrays[key]
    yield from (rows[i] for i in sorted(rows))


def main() -> None:
    """Answer requests until the input ends; what libraries print goes to the error stream."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import tensorflow  # noqa: F401 - while the other side writes the model

    for line in sys.stdin:
        try:
            convert(json.loads(line))
            answer: dict[str, Any] = {"ok": True}
        except Exception as error:  # the converter raises errors of its own, private type
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
