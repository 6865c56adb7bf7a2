"""What a model's `predict` does to data outside its `call`, found by measurement, and built into the model.

KerasHub's tasks run a preprocessor in the data pipeline of `fit`, `evaluate` and `predict`; others override
`predict_step`. A file of the call alone would miss it, and a check against the call would agree with itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from ..errors import ExportError
from ..text import Text
from .built_in import built_in
from .float32 import in_float32
from .predicting import (
    alike,
    called_on,
    first_inputs,
    is_text,
    leaves_as_it_is,
    made_up_inputs,
    predicted_by,
)
from .samples import weighted
from .signature import check_model, input_names, pack_inputs
from .token_ids import of_a_tokenizer, taking_ids

_METHODS = ("predict", "predict_step", "make_predict_function")
_EVALUATING = ("evaluate", "test_step", "make_test_function")
_NEAR, _NEAR_IN_HALF = 1e-3, 5e-2  # of the largest value of an output


@dataclass(frozen=True)
class Prepared:
    """A model whose call computes what `predict` of the user's model does, and data as it takes them.

    Attributes:
        model: The model, in float32 for TFLite.
        words: What was built in or is left to the client, for the report; "" if nothing.
        text: How strings become the model's inputs, if it is known as WordPiece; else None.
        convert: Makes of the user's inputs those of the model.
        inference_only: Whether the model is a `predict_step`, which is the same in training.
    """

    model: keras.Model
    words: str = ""
    text: Text | None = None
    convert: Callable[[Any], Any] | None = None
    inference_only: bool = False

    def data(self, given: Any) -> Any:
        """Data of the user as the model takes them."""
        if given is None or self.convert is None:
            return given
        convert = self.convert

        def converted() -> Iterator[tuple[Any, Any, Any]]:
            for inputs, targets, weights in weighted(given):
                yield convert(inputs), targets, weights

        return converted


def prepared(
    model: keras.Model,
    holdout: Any = None,
    representative_data: Any = None,
    *,
    text: Text | None = None,
    tflite: bool = True,
) -> Prepared:
    """Build into a model what its `predict` does outside its call, if it does anything.

    Args:
        model: A built model.
        holdout, representative_data: The user's data, as `predict` takes them, or None.
        text: How strings become the model's inputs, or None.
        tflite: Whether only operations that are built into TFLite count; without it pictures may have any
            size.

    Raises:
        TypeError, ValueError: The model can't be exported, or the data have no first batch.
        ExportError: `predict` does something that can't be built in; the message names it.
    """
    check_model(model)
    given = [data for data in (holdout, representative_data) if data is not None]
    floats = in_float32(model) if tflite else model
    if text is not None:
        return _with_text(model, floats, text, given)
    own = _own(model, _METHODS)
    if not own:
        _check_evaluated(model, given)
        return Prepared(floats)
    raw, transform = first_inputs(given), _transform(model)
    name = transform[1] if transform is not None else ""
    if transform is not None and _is_tokenizing(model):
        return _text(model, floats, *transform, raw)
    if raw is None:
        raw = pack_inputs(model, made_up_inputs(model))
    moved = transform is not None and not leaves_as_it_is(transform[0], raw)
    predicted = predicted_by(model, raw, ", ".join(own) or name)
    near = _NEAR if model.dtype_policy.compute_dtype == "float32" else _NEAR_IN_HALF
    if not moved and alike(called_on(floats, raw), predicted, near):
        return Prepared(floats)
    found = built_in(
        floats, _transform(floats) if moved else None, raw, given,
        steps="predict_step" in own, tflite=tflite, fits=lambda m: alike(called_on(m, raw), predicted, near),
    )  # fmt: skip
    what = f"its {name}" if moved else f"its own {', '.join(own)}"
    if found is None:
        raise ExportError(
            f"{model.name!r}.predict gives other values than the call of the model, which files are made of: "
            f"{what} does something to the data outside of it that can't be built into a file. "
            f"{_remedy(what)}"
        )
    return Prepared(
        found, f"in the graph: {name if moved else 'predict_step'}", inference_only="predict_step" in own
    )


def _remedy(what: str) -> str:
    return (
        "Export what the call computes, keras.Model(model.input, model.output), with data as the call takes "
        f"them, and let the client do what {what} does."
    )


def _transform(model: keras.Model) -> tuple[Callable[[Any], Any], str] | None:
    """What a model does to inputs before its call, and its name, as far as attributes tell it."""
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None or not callable(preprocessor):
        return None
    label = getattr(preprocessor, "name", None) or getattr(preprocessor, "__name__", "preprocessor")
    kind = type(preprocessor).__name__
    name = f"preprocessor {label!r}" + ("" if inspect.isroutine(preprocessor) else f" ({kind})")
    samples = getattr(model, "preprocess_samples", None)
    return (samples if callable(samples) else preprocessor), name


def _own(model: keras.Model, names: tuple[str, ...]) -> list[str]:
    """Those of a model's methods that are not Keras's own."""
    return [n for n in names if getattr(getattr(model, n), "__func__", None) is not getattr(keras.Model, n)]


def _check_evaluated(model: keras.Model, given: list[Any]) -> None:
    """Raise ExportError if `evaluate` measures another accuracy than that of what `predict` gives."""
    own = _own(model, _EVALUATING)
    if not own or not model.compiled:
        return
    for data in given:
        for inputs, targets, weights in weighted(data):
            if targets is None:
                break
            try:
                said = model.evaluate(inputs, targets, sample_weight=weights, verbose=0, return_dict=True)
                outputs = model.predict(inputs, verbose=0)
                model.reset_metrics()
                found = model.compute_metrics(inputs, targets, outputs, weights)
                model.reset_metrics()
            except Exception:  # a step of the user's own needs more than that: there is nothing to compare
                return
            named = ", ".join(own)
            for name in (n for n in said if "acc" in n and n in found):
                mine, theirs = float(found[name]), float(said[name])
                if abs(mine - theirs) > 1e-3:
                    raise ExportError(
                        f"{model.name!r} measures {name} {theirs:.4f} by its own {named}, and what its "
                        f"predict gives for the same data has {mine:.4f}: {named} does something to the "
                        "data that predict and the call, which files are made of, do not. "
                        f"{_remedy(named)}"
                    )
            return


def _is_tokenizing(model: keras.Model) -> bool:
    return getattr(getattr(model, "preprocessor", None), "tokenizer", None) is not None


def _text(
    model: keras.Model, floats: keras.Model, transform: Callable[[Any], Any], name: str, raw: Any
) -> Prepared:
    """A model of token ids: strings become ids in the data, and the tokenizer is the client's."""
    strings = raw if raw is not None and is_text(raw) else ["a", "the end"]
    predicted = predicted_by(model, strings, name)
    if not alike(called_on(floats, transform(strings)), predicted, _NEAR_IN_HALF):
        raise ExportError(
            f"{model.name!r}.predict gives other values than the call on the ids that its {name} makes. "
            f"{_remedy(f'its {name}')}"
        )
    text = of_a_tokenizer(floats, model.preprocessor, transform, strings)
    return Prepared(
        floats if text is None else taking_ids(floats, text),
        f"by the client: {name} makes {', '.join(input_names(floats))} of strings",
        text,
        lambda inputs: transform(inputs) if is_text(inputs) else inputs,
    )


def _with_text(model: keras.Model, floats: keras.Model, text: Text, given: list[Any]) -> Prepared:
    """A model of token ids, of which `text` says how strings become them."""
    made = taking_ids(floats, text)
    raw = first_inputs(given)
    transform = _transform(model)
    if transform is not None and _is_tokenizing(model) and raw is not None and is_text(raw):
        name = transform[1]
        predicted = predicted_by(model, raw, name)
        if not alike(called_on(made, text.encode(raw)), predicted, _NEAR_IN_HALF):
            raise ValueError(
                f"text gives other token ids than the {name} of {model.name!r}, which model.predict runs: "
                "the outputs differ. Leave text out, or say the same by it: vocabulary, lower_case, "
                "sequence_length."
            )
    return Prepared(
        made,
        f"by the client: WordPiece makes {', '.join(input_names(made))} of strings",
        text,
        lambda inputs: text.encode(inputs) if is_text(inputs) else inputs,
    )
