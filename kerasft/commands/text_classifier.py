"""A classifier of texts over an encoder of a SavedModel or a KerasHub preset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasft.commands.settings import TextInputs
from kerasft.commands.text_tokens import (
    MASK,
    PreprocessorTokens,
    PresetTokens,
    Tokens,
    VocabularyTokens,
    roles_of,
    vocabulary_beside,
)
from kerasft.hub import load_backbone
from kerasft.text import TextRule, check_fits

_SEQUENCES = ("sequence_output", "last_hidden_state")
_WHOLE = ("default", "pooled_output")


def is_preset(handle: str) -> bool:
    """Whether a folder is a KerasHub preset."""
    path = Path(handle) / "config.json"
    if not path.is_file():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and "keras_hub" in str(content.get("module", ""))


def load_encoder(settings: TextInputs) -> tuple[keras.Model, Tokens]:
    """The encoder of a run, and what makes its inputs of strings.

    Returns:
        A model whose inputs are in a dict, and whose output is one tensor; and the tokens.

    Raises:
        ValueError: The inputs or outputs are not those of a text encoder; nothing says how strings become
            ids; or the vocabulary, the preprocessor or the length does not fit.
    """
    handle = settings.handle
    if is_preset(handle):
        import keras_hub

        encoder = keras_hub.models.Backbone.from_preset(handle)
        names = list(encoder.input)
        tokens: Tokens = PresetTokens(handle, names, settings.length)
        return _one_output(encoder), tokens
    encoder = _saved_model(settings, None)
    names = list(encoder.input) if isinstance(encoder.input, dict) else [encoder.input.name]
    roles = roles_of(names)
    if settings.preprocessor is not None:
        tokens = PreprocessorTokens(settings.preprocessor, names, settings.trust)
    else:
        path = settings.vocabulary or vocabulary_beside(handle)
        if path is None:
            raise ValueError(
                f"Nothing says how texts become the inputs of {handle} ({', '.join(names)}). Give its "
                f"vocabulary, "
                "--vocab vocab.txt, or its preprocessor, --preprocessor FOLDER_OR_URL."
            )
        rule = TextRule.of(path, settings.length)
        _check_rows(rule, encoder)
        tokens = VocabularyTokens(rule, roles)
    lengths = dict.fromkeys(names, (tokens.length,))
    encoder = _saved_model(settings, lengths if isinstance(encoder.input, dict) else (tokens.length,))
    _try_length(encoder, names, tokens.length)
    return encoder, tokens


def _saved_model(settings: TextInputs, shape: Any) -> keras.Model:
    """The encoder with the output that is used: the tokens' vectors if it has them."""
    options = {"batch_norm": settings.batch_norm, "trust": settings.trust, "input_shape": shape}
    reasons = []
    for output in (*_SEQUENCES, *_WHOLE):
        try:
            return load_backbone(settings.handle, output=output, **options)
        except ValueError as error:
            if "output" not in str(error):
                raise
            reasons.append(error)
    encoder = load_backbone(settings.handle, **options)
    if isinstance(encoder.output, dict):
        raise reasons[0]
    return encoder


def _one_output(encoder: keras.Model) -> keras.Model:
    """An encoder of KerasHub with one output: the tokens' vectors if it has them."""
    if not isinstance(encoder.output, dict):
        return encoder
    name = next((name for name in (*_SEQUENCES, *_WHOLE) if name in encoder.output), None)
    if name is None:
        raise ValueError(
            f"The backbone's outputs are {', '.join(encoder.output)}, none of them that of a text."
        )
    return keras.Model(encoder.input, encoder.output[name], name=encoder.name)


def _check_rows(rule: TextRule, encoder: keras.Model) -> None:
    """Raise unless one of the encoder's tables has a row for each word."""
    rows = [int(w.shape[0]) for w in encoder.weights if len(w.shape) == 2]
    if rows and len(rule.words) not in rows:
        check_fits(rule.words, max(rows), "the backbone")


def _try_length(encoder: keras.Model, names: list[str], length: int) -> None:
    """Raise unless the encoder takes texts of that many tokens."""
    ones = np.ones((1, length), "int32")
    given = dict.fromkeys(names, 0 * ones) if len(names) > 1 else 0 * ones
    try:
        encoder.predict_on_batch(given)
    except Exception as error:  # what a graph raises depends on how its places are looked up
        raise ValueError(
            f"The backbone can't take texts of {length} tokens: {str(error).splitlines()[0]} Give fewer with "
            "--length; most encoders of BERT's kind take 512 at most."
        ) from error


def build_text_classifier(encoder: keras.Model, tokens: Tokens, classes: int) -> keras.Model:
    """A classifier of token ids: the mean over an encoder's tokens, and a dense layer on it.

    Args:
        encoder: As `load_encoder` gives it.
        tokens: As well.
        classes: The number of classes.

    Returns:
        A Functional model whose inputs are the encoder's, int32 of shape (batch, length).
    """
    names = list(encoder.input) if isinstance(encoder.input, dict) else [encoder.input.name]
    inputs = {name: keras.Input((tokens.length,), dtype="int32", name=name) for name in names}
    x = encoder(inputs if isinstance(encoder.input, dict) else inputs[names[0]])
    if len(x.shape) == 3:
        mask = roles_of(names).get(MASK)
        given = {} if mask is None else {"mask": inputs[mask]}
        x = keras.layers.GlobalAveragePooling1D(name="pooling")(x, **given)
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    outputs = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
    return keras.Model(inputs, outputs, name="classifier")
