"""The way back: weights that a client has trained, in the Keras model that they came from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..model import check_model
from .part import Part, last_layers, named_weights, rest_of, with_new_classes
from .row import Link, row_of
from .state import DIGEST, digest_of, read_state

_SLOTS = ("momentum", "m", "v")


def load_head(model: keras.Model, file: str | os.PathLike[str]) -> keras.Model:
    """Read weights that were trained on the device back into the Keras model that was exported.

    Args:
        model: The model that was given to `to_trainable_tflite`, or the same one loaded again. Only the
            weights that trained may differ.
        file: Weights by their names in the signatures, with the `digest` of the report: a `.npz`
            (`numpy.savez(file, digest=report["digest"], **state)`) or a `.safetensors` file with the digest
            in its `__metadata__`. Slots of the optimizer may be in it; they are not read.

    Returns:
        The model, with the weights. Of a file that was exported with `new_classes`, a new model of those
        classes, which shares the frozen layers with `model`.

    Raises:
        FileNotFoundError: There is no file.
        ValueError: It is of another model, of other shapes, lacks a weight, or holds values that are not
            finite. The model stays as it was.

    Example:
        ```python
        model = kerasft.export.load_head(model, "trained.npz")
        ```
    """
    check_model(model)
    path = Path(file)
    arrays, digest = read_state(path)
    if not digest:
        raise ValueError(
            f"{path.name} has no {DIGEST!r}, which tells of which model its weights are. Write it beside "
            "them: it is in the report that was exported."
        )
    links, new = _found(model, arrays, digest, path.name)
    wanted = {name: v for name, v in named_weights(links).items() if name in arrays}
    if broken := [name for name in wanted if not np.all(np.isfinite(arrays[name]))]:
        raise ValueError(
            f"{path.name} holds values that are not finite, in {broken}: the training ran away. Begin again "
            "with a smaller learning rate. The model was left as it is."
        )
    if new:
        part = last_layers(model, len(links))
        model = with_new_classes(part, _classes(part, arrays, path.name), 0)
        wanted = {n: v for n, v in named_weights(row_of(model).links[-len(links) :]).items() if n in arrays}
    for name, v in wanted.items():
        if tuple(v.shape) != arrays[name].shape:
            raise ValueError(
                f"{path.name} has {name!r} of the shape {arrays[name].shape}, the model {tuple(v.shape)}. "
                "The model was left as it is."
            )
    for name, v in wanted.items():
        v.assign(arrays[name])
    return model


def _found(
    model: keras.Model, arrays: Mapping[str, np.ndarray], digest: str, file: str
) -> tuple[Sequence[Link], bool]:
    """The last layers that the weights belong to, and whether they are for new classes."""
    links = row_of(model).links
    known: set[str] = set()
    fitting = False
    for first in reversed(range(len(links))):
        named = named_weights(links[first:])
        known |= set(named)
        taken = [name for name in arrays if name in named]
        others = {name for name in arrays if name not in named}
        slots = {"step", *(f"{name}_{slot}" for name in taken for slot in _SLOTS)}
        if not taken or others - slots:
            continue
        fitting = True
        rest = rest_of(model, links[first:], taken)
        for new in (False, True):
            if digest_of(rest, new_classes=new) == digest:
                return links[first:], new
    if fitting:
        raise ValueError(
            f"{file} holds the weights of another model: those that stayed as they were in training are not "
            f"those of {model.name!r}, or it lacks some that trained. Give the model that was exported. It "
            "was left as it is."
        )
    raise ValueError(
        f"{file} holds {sorted(arrays)}; {model.name!r} has {sorted(known) or 'no such weights'} to train. "
        "Give the model that was exported. It was left as it is."
    )


def _classes(part: Part, arrays: Mapping[str, Any], file: str) -> int:
    """The classes of the last Dense in a file."""
    dense = [link.layer for link in part.links if isinstance(link.layer, keras.layers.Dense)][-1]
    names = {id(v): name for name, v in named_weights(part.links).items()}
    shape = arrays[names[id(dense.kernel)]].shape
    if len(shape) != 2:
        raise ValueError(
            f"{file} has {names[id(dense.kernel)]!r} of the shape {shape}, not (width, classes)."
        )
    return int(shape[-1])
