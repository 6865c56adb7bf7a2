"""Checkpoints of fine-tuned models: what training has changed, and fingerprints of all that it has not.

The rest comes from the program that builds the model, which is how a hyperparameter search loads one: it
builds the model again and calls `load_weights`. A frozen backbone is then no part of a checkpoint.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import h5py
import keras
import numpy as np

from kerasft.files import replacing
from kerasft.search.loss import read_guess
from kerasft.search.results import SearchFolder


def weight_fingerprints(model: keras.Model) -> list[str]:
    """A checksum of each weight of a built model, in the order of `model.weights`."""
    return [_fingerprint(v.numpy()) for v in model.weights]


def write_checkpoint(
    path: str | os.PathLike[str],
    model: keras.Model,
    before: Sequence[str],
    extra: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the weights that differ from what they were before training.

    The file appears under its name when it is whole.

    Args:
        path: The file.
        model: The model.
        before: What `weight_fingerprints` returned before training.
        extra: Further arrays by name, which `read_checkpoint` returns.

    Raises:
        OSError: It can't be written; a disk that is full, say.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(target, overwrite=True) as partial, h5py.File(partial, "w") as file:
            unchanged = {}
            for i, (variable, was) in enumerate(zip(model.weights, before, strict=True)):
                value = variable.numpy()
                if _fingerprint(value) == was:
                    unchanged[i] = was
                else:
                    _store(file, f"weights/{i}", value)
            for i, (name, value) in enumerate((extra or {}).items()):
                _store(file, f"extra/{i}", np.asarray(value)).attrs["name"] = name
            file.attrs["kerasft"] = json.dumps({"weights": len(before), "unchanged": unchanged})
    except OSError as error:
        raise OSError(f"The checkpoint {target} can't be written: {error}") from error


def read_checkpoint(path: str | os.PathLike[str], model: keras.Model) -> dict[str, np.ndarray]:
    """Load the weights that training had changed into a model that was built as the one that was saved.

    Args:
        path: A file of `write_checkpoint`.
        model: The model; untouched if it does not fit.

    Returns:
        The further arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The model has other weights than the one that was saved, or other values of those that
            training had not changed.
    """
    with h5py.File(path, "r") as file:
        manifest = json.loads(file.attrs["kerasft"])
        weights = model.weights
        if len(weights) != manifest["weights"]:
            raise ValueError(
                f"The checkpoint {path} belongs to a model with {manifest['weights']} weights; "
                f"{model.name!r} has {len(weights)}. Build the model as it was when it was saved."
            )
        for i, was in manifest["unchanged"].items():
            variable = weights[int(i)]
            if _fingerprint(variable.numpy()) != was:
                raise ValueError(
                    f"The checkpoint {path} leaves out {variable.path!r}, which training did not change, and "
                    "the model that is built now has other values there. Build it from the same pre-trained "
                    "weights, with the same seed."
                )
        changed = {int(i): file[f"weights/{i}"] for i in file.get("weights", {})}
        for i, stored in changed.items():
            if tuple(stored.shape) != tuple(weights[i].shape):
                raise ValueError(
                    f"The checkpoint {path} has the shape {tuple(stored.shape)} for {weights[i].path!r}, the "
                    f"model {tuple(weights[i].shape)}. Build the model as it was when it was saved."
                )
        for i, stored in changed.items():
            weights[i].assign(_restored(stored))
        return {entry.attrs["name"]: _restored(entry) for entry in file.get("extra", {}).values()}


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by `write_checkpoint`, rather than by Keras."""
    try:
        with h5py.File(path, "r") as file:
            return "kerasft" in file.attrs
    except OSError:
        return False


def with_checkpoint_loading(model: keras.Model, skip: str | None = None) -> keras.Model:
    """Let `model.load_weights` read these files as well as Keras's own; the model is changed in place.

    Its class gains a mixin, until `without_checkpoint_loading`. Saved models and their loading do not see it.

    Args:
        model: The model.
        skip: Name of a folder whose checkpoint is not loaded: that of a trial which this one continues.
    """
    without_checkpoint_loading(model)
    own_class: Any = type(model)
    model.__class__ = _mixed_class(own_class, skip)
    return model


def without_checkpoint_loading(model: keras.Model) -> keras.Model:
    """Undo `with_checkpoint_loading`; a model that it was not called on stays as it is."""
    if isinstance(model, _LoadsCheckpoints):
        model.__class__ = type(model).__mro__[2]
    return model


class _LoadsCheckpoints:
    """Mixin over a model's class."""

    skipped_folder: str | None = None

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        path, model = Path(filepath), cast(keras.Model, self)
        if path.parent.name == self.skipped_folder:
            return
        if is_checkpoint(path):
            read_checkpoint(path, model)
        elif path.exists():
            super().load_weights(filepath, *args, **kwargs)  # type: ignore[misc]
        else:
            kept = sorted(found.parent.name[6:] for found in path.parent.parent.glob(f"trial_*/{path.name}"))
            raise FileNotFoundError(
                f"There is no checkpoint {filepath}. A search keeps only those of its best trials, here of "
                f"{kept}: FreezeDepthSearch(keep=3) keeps three. To train another trial's model again: "
                "tuner.hypermodel.build(hp), and fit."
            )
        guess = None if model.loss is not None else read_guess(SearchFolder(path.parent.parent).shared)
        if guess is not None:  # of an earlier process
            model.compile(model.optimizer, guess.loss, metrics=list(guess.metrics))


@functools.cache
def _mixed_class(model_class: Any, skipped_folder: str | None) -> type:
    # under the name of the model's own class, so that a file it is saved to says that one
    names = {name: getattr(model_class, name) for name in ("__module__", "__qualname__", "__doc__")}
    names["skipped_folder"] = skipped_folder
    return type(model_class.__name__, (_LoadsCheckpoints, model_class), names)


def _fingerprint(value: np.ndarray) -> str:
    form = f"{value.dtype}{value.shape}".encode()
    content = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    return hashlib.blake2b(content.data, digest_size=12, key=form[:64]).hexdigest()


def _store(file: Any, name: str, value: np.ndarray) -> Any:
    """Store an array; HDF5 has no bfloat16 or the like, whose bytes are kept as numbers."""
    plain = value if value.dtype.kind in "biuf" else value.view(f"u{value.dtype.itemsize}")
    file[name] = plain
    file[name].attrs["dtype"] = value.dtype.name
    return file[name]


def _restored(stored: Any) -> np.ndarray:
    value = np.asarray(stored)
    return value.view(np.dtype(stored.attrs["dtype"]))
