"""Models of token ids, and the rule by which a text becomes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..text import Text
from .failures import plain, told
from .signature import by_name, input_names, pack_inputs

_AWKWARD = ["", "An accent: déjà vu", "UPPER lower 東京 \u2026 42!", "unheardofword " * 600]


def taking_ids(model: keras.Model, text: Text) -> keras.Model:
    """A model whose inputs are int32 ids, and what else `text` names, all of its sequence length.

    Raises:
        ValueError: The model has other inputs, of another length, or ids without an embedding.
    """
    names = input_names(model)
    given = {"ids": text.ids, "mask": text.mask, "types": text.types}
    known = {what: name for what, name in given.items() if name is not None}
    missing = [f"{what}={name!r}" for what, name in known.items() if name not in names]
    left = [name for name in names if name not in known.values()]
    if missing or left:
        raise ValueError(
            f"text names the inputs of {model.name!r}, which are {names}"
            + (f"; it has {', '.join(missing)}" if missing else "")
            + (f"; it leaves out {left}" if left else "")
            + ". Say which is which by ids=…, mask=… and types=…."
        )
    for name, tensor in zip(names, model.inputs, strict=True):
        shape = tuple(tensor.shape)
        if len(shape) != 2 or shape[1] not in (None, text.sequence_length):
            raise ValueError(
                f"text makes ids of the shape (batch, {text.sequence_length}); the input {name!r} of "
                f"{model.name!r} has the shape {shape}."
            )
    _check_vocabulary(model, text)
    if all(tuple(t.shape)[1:] == (text.sequence_length,) and t.dtype == "int32" for t in model.inputs):
        return model
    inputs = {name: keras.Input((text.sequence_length,), dtype="int32", name=name) for name in names}
    cast = {
        name: keras.ops.cast(inputs[name], tensor.dtype)
        for name, tensor in zip(names, model.inputs, strict=True)
    }
    return keras.Model(inputs, by_name(model, model(pack_inputs(model, cast))), name=f"{model.name}_ids")


def _check_vocabulary(model: keras.Model, text: Text) -> None:
    """Raise ValueError unless the model takes the first and the last id of a vocabulary."""
    last = len(text.tokens) - 1
    tried = {
        name: np.full((1, text.sequence_length), 0 if name == text.types else 1, "int32")
        for name in input_names(model)
    }
    tried[text.ids] = np.full((1, text.sequence_length), last, "int32")
    try:
        model(pack_inputs(model, tried), training=False)
    except Exception as error:
        tried[text.ids] = np.zeros((1, text.sequence_length), "int32")
        with told(model, f"can't be run on ids of the length {text.sequence_length}", ""):
            model(pack_inputs(model, tried), training=False)
        raise ValueError(
            f"The vocabulary has {last + 1:,} tokens, and {model.name!r} can't take the id {last}: its "
            f"embedding is smaller, so the vocabulary is that of another model. {plain(str(error), 200)}"
        ) from error


def of_a_tokenizer(
    model: keras.Model, preprocessor: Any, transform: Callable[[Any], Any], strings: Any
) -> Text | None:
    """The rule that a preprocessor follows, if it is WordPiece and gives the same ids; else None.

    Args:
        model: The model that takes them.
        preprocessor: KerasHub's.
        transform: Strings to the model's inputs.
        strings: Some of the user's.
    """
    tokenizer = preprocessor.tokenizer
    names = input_names(model)
    try:
        text = Text(
            tokenizer.get_vocabulary(),
            preprocessor.sequence_length,
            lower_case=bool(tokenizer.lowercase),
            strip_accents=bool(tokenizer.strip_accents),
            ids="token_ids",
            mask="padding_mask" if "padding_mask" in names else None,
            types="segment_ids" if "segment_ids" in names else None,
            padding=tokenizer.pad_token,
            unknown=tokenizer.oov_token,
            start=tokenizer.start_token,
            end=tokenizer.end_token,
        )
        for some in (strings, _AWKWARD):
            theirs = transform(some)
            for name, ours in text.encode(some).items():
                if not np.array_equal(ours, np.asarray(theirs[name]).astype("int32")):
                    return None
    except Exception:  # another kind of tokenizer, with other attributes
        return None
    return text
