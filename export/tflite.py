"""TFLite files at float32 and float16: built-in operations only, verified before they get their name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .contract import ExportError, LiteRTModel, Report, compare, quiet
from .files import check_target, replacing
from .saved_model import by_name, check_model, input_names, input_structure, layers_of, pack_inputs, serving

_TOLERANCES = {"float32": 1e-4, "float16": 2e-2}
PRECISIONS = tuple(_TOLERANCES)  # what to_tflite can write
_GOLDEN = 16


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    precision: str = "float32",
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    normalization: tuple[Any, Any] | None = None,
    holdout: Any = None,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> Report:
    """Write a Keras model as a .tflite file that is known to work.

    The file is written beside its final name, loaded in LiteRT, and compared with the model on golden
    inputs; only then it gets its name. It has one signature with the model's input and output names and a
    batch size of one. Dropout and random augmentation are inactive.

    Args:
        model: A built Functional or Sequential model, all axes but the batch known.
        path: The file, ending in `.tflite`.
        precision: "float32" or "float16" (weights stored in half precision).
        labels: Names of the classes, one for each value of the output; recorded in the report.
        input_range: Lowest and highest input value that the graph expects; recorded, and used for golden
            inputs if there is no `holdout`.
        normalization: (mean, std) that the client has to apply; recorded. Refused if the model rescales
            its input itself, as it would be applied twice.
        holdout: Held-out data: a `tf.data.Dataset` of (inputs, labels) batches, a tuple of arrays, or inputs
            alone. Its first 16 samples are the golden inputs; with integer labels the accuracy of both
            model and file is measured on all of it.
        tolerance: Largest difference relative to the output's largest value; 1e-4 for float32 and 2e-2
            for float16.
        overwrite: Replace an existing file, once the new one is verified.

    Returns:
        What was written and measured.

    Raises:
        TypeError, ValueError: An argument is wrong.
        FileNotFoundError, FileExistsError, OSError: The file can't be written.
        ExportError: The model can't be converted to built-in operations, or the file does not compute what
            the model computes. Nothing is left behind, an older file is untouched.

    Example:
        ```python
        report = kerasft.export.to_tflite(model, "model.tflite", holdout=test, labels=names)
        print(report.parity, report.accuracy_file)
        ```
    """
    target = Path(path)
    if precision not in _TOLERANCES:
        raise ValueError(f"precision is one of {sorted(_TOLERANCES)}, not {precision!r}.")
    check_model(model)
    _check_dtypes(model)
    if target.suffix != ".tflite" or target.is_dir():
        raise ValueError(f"The path of a TFLite file ends in .tflite; received {target}.")
    check_target(target, overwrite=overwrite)
    _check_shapes(model)
    names = _check_labels(model, labels)
    preprocessing = _preprocessing(model, normalization)
    samples = list(itertools.islice(_samples(model, holdout, input_range), _GOLDEN))

    def reference(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = model(pack_inputs(model, named), training=False)
        return {k: keras.ops.convert_to_numpy(v) for k, v in by_name(model, outputs).items()}

    content = _convert(model, precision)
    with replacing(target, overwrite=overwrite) as partial:
        partial.write_bytes(content)
        artifact = LiteRTModel(str(partial))
        allowed = _TOLERANCES[precision] if tolerance is None else tolerance
        parity = compare(artifact, reference, samples, allowed)
        agreement, accuracy_model, accuracy_file = _accuracies(model, artifact, holdout)
        report = Report(
            path=str(target),
            precision=precision,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            dtypes=artifact.dtypes,
            labels=names,
            input_range=None if input_range is None else (float(input_range[0]), float(input_range[1])),
            preprocessing=preprocessing,
            parity=parity,
            agreement=agreement,
            accuracy_model=accuracy_model,
            accuracy_file=accuracy_file,
            versions={
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
                "ai_edge_litert": importlib.metadata.version("ai_edge_litert"),
            },
        )
        del artifact
    return report


def _convert(model: keras.Model, precision: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, quiet():
        module = tf.Module()
        module.model_variables = [v.value for v in model.variables]
        signature = serving(model, lambda inputs: model(inputs, training=False), batch=1)
        tf.saved_model.save(module, folder, signatures=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:  # the converter raises errors of its own, private type
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ExportError(
                "The model can't be converted to TFLite's built-in operations: " + " ".join(lines[-3:])[:800]
            ) from error


def _check_dtypes(model: keras.Model) -> None:
    quantized = [
        layer.name
        for layer in layers_of(model)
        if isinstance(layer.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy)
    ]
    if quantized:
        raise ValueError(
            f"The layers {quantized} were quantized by Keras, which TFLite can't take over. Export the model "
            "as it was before quantize()."
        )


def _check_shapes(model: keras.Model) -> None:
    for tensor in model.inputs:
        if None in tuple(tensor.shape)[1:]:
            raise ValueError(
                f"The input {tensor.name!r} has the open shape {tuple(tensor.shape)}; a device needs a fixed "
                "one. Wrap the model: inputs = keras.Input((224, 224, 3)); keras.Model(inputs, "
                "model(inputs)), with your own size."
            )


def _check_labels(model: keras.Model, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if isinstance(labels, str) or not all(isinstance(n, str) and n.strip() for n in labels):
        raise ValueError(f"labels is a list of names, none of them empty; received {labels!r}.")
    if len(model.outputs) != 1:
        raise ValueError(f"labels need a model with one output; {model.name!r} has {len(model.outputs)}.")
    count = model.outputs[0].shape[-1]
    if len(labels) != count:
        raise ValueError(f"There are {len(labels)} labels, but the model has {count} outputs.")
    double = sorted({n for n in labels if list(labels).count(n) > 1})
    if double:
        raise ValueError(f"labels are unique; given more than once: {double}.")
    return tuple(labels)


def _preprocessing(model: keras.Model, normalization: tuple[Any, Any] | None) -> str:
    found = []
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Rescaling):
            found.append(f"Rescaling(scale={layer.scale}, offset={layer.offset})")
        elif isinstance(layer, keras.layers.Normalization):
            found.append("Normalization")
    if normalization is None:
        return "in the graph: " + ", ".join(found) if found else "none"
    if found:
        raise ValueError(
            f"The model normalizes its input itself ({', '.join(found)}), so normalization={normalization} "
            "would be applied twice. Leave it out."
        )
    mean, std = normalization
    if np.any(np.asarray(std) <= 0):
        raise ValueError(f"The standard deviation of normalization is above 0; received {std!r}.")
    return f"by the client: (x - {mean}) / {std}"


def _batches(holdout: Any) -> Iterator[tuple[Any, Any]]:
    """The holdout as (inputs, labels or None) batches."""
    if isinstance(holdout, tf.data.Dataset):
        for batch in holdout:
            yield (batch[0], batch[1]) if isinstance(batch, tuple) and len(batch) > 1 else (batch, None)
    elif isinstance(holdout, tuple) and len(holdout) == 2:
        yield holdout
    else:
        yield holdout, None


def _named(model: keras.Model, inputs: Any) -> dict[str, np.ndarray]:
    values: Any
    if isinstance(inputs, dict):
        structure = input_structure(model)
        values = [inputs[k] for k in structure] if isinstance(structure, dict) else inputs.values()
    else:
        values = inputs if isinstance(inputs, list | tuple) else [inputs]
    named = dict(zip(input_names(model), values, strict=True))
    dtypes = dict(zip(input_names(model), (t.dtype for t in model.inputs), strict=True))
    return {k: np.asarray(v).astype(dtypes[k]) for k, v in named.items()}


def _samples(
    model: keras.Model, holdout: Any, input_range: tuple[float, float] | None
) -> Iterator[dict[str, np.ndarray]]:
    """Golden inputs of batch size one: from the holdout, or random numbers of a fixed seed."""
    if holdout is not None:
        for inputs, _ in _batches(holdout):
            named = _named(model, inputs)
            for i in range(len(next(iter(named.values())))):
                yield {k: v[i : i + 1] for k, v in named.items()}
        return
    rng = np.random.default_rng(0)
    for _ in range(_GOLDEN):
        sample = {}
        for name, tensor in zip(input_names(model), model.inputs, strict=True):
            shape, dtype = (1, *tuple(tensor.shape)[1:]), tf.as_dtype(tensor.dtype)
            value: np.ndarray
            if not dtype.is_floating:
                value = rng.integers(0, 2, shape)
            elif input_range is not None:
                value = rng.uniform(*input_range, shape)
            else:
                value = rng.normal(size=shape)
            sample[name] = value.astype(dtype.as_numpy_dtype)
        yield sample


def _accuracies(
    model: keras.Model, artifact: LiteRTModel, holdout: Any
) -> tuple[float | None, float | None, float | None]:
    """Agreement of model and file, and the accuracy of each, on all of a labelled holdout."""
    shape = tuple(model.outputs[0].shape)
    if holdout is None or len(model.outputs) != 1 or len(shape) != 2 or (shape[-1] or 0) < 2:
        return None, None, None
    mine, theirs, truth = [], [], []
    for inputs, labels in _batches(holdout):
        if labels is None:
            return None, None, None
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            return None, None, None
        named = _named(model, inputs)
        outputs = model.predict_on_batch(pack_inputs(model, named))
        mine += np.argmax(next(iter(by_name(model, outputs).values())), axis=-1).tolist()
        for i in range(len(labels)):
            scores = artifact({k: v[i : i + 1] for k, v in named.items()})
            theirs.append(int(np.argmax(next(iter(scores.values())))))
        truth += labels.tolist()
    a, b, y = np.array(mine), np.array(theirs), np.array(truth)
    return float(np.mean(a == b)), float(np.mean(a == y)), float(np.mean(b == y))
