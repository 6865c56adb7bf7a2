"""The ranges of a model's inputs: as given or as its rescaling decides, and as the data show them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .calibration import Calibration
from .preprocessing import Preprocessing, Range, check_span, fills
from .samples import batches, named_inputs
from .signature import input_names, serving_of

_MOST = 10_000  # samples of which the range is measured


def implied_range(model: keras.Model) -> Range | None:
    """The range of a model's input that its rescaling decides; None if it does not rescale.

    Raises:
        ValueError: It rescales, and leaves the range open; the message says which are possible.
    """
    preprocessing = Preprocessing.of(model, serving_of(model, 1))
    for name in input_names(model):
        if question := preprocessing.open_question(name):
            raise ValueError(question)
    found = {preprocessing.decided(name) for name in input_names(model)} - {None}
    return found.pop() if len(found) == 1 else None


def held_against_data(
    model: keras.Model,
    preprocessing: Preprocessing,
    given: Range | None,
    chosen: Calibration | None,
    holdout: Any,
) -> tuple[dict[str, Range | None], str | None]:
    """The range of each input, held against data; and why one is open, in words.

    Args:
        model: The model.
        preprocessing: What its graph does to its inputs.
        given: The range that the user gave, of all inputs. It comes before what the graph shows, if there are
            data that fit it.
        chosen: Samples for calibration.
        holdout: Held-out data.

    Raises:
        ValueError: Data run over another range than the graph expects; or the range that was given is not the
            one that the graph decides, and no data say which it is.
    """
    names = input_names(model)
    floats = [n for n, t in zip(names, model.inputs, strict=True) if "float" in t.dtype]
    ranges: dict[str, Range | None] = {name: given or preprocessing.decided(name) for name in names}
    if given is not None and floats:  # token ids beside pictures, say: the range is that of the pictures
        ranges |= {name: None for name in names if name not in floats}
    spans: dict[str, dict[str, Range]] = {}
    if given is not None or preprocessing.inside:
        if chosen is not None:
            spans["representative_data"] = _spans(floats, chosen.samples)
        if holdout is not None:
            spans["The holdout's inputs"] = _spans(
                floats, (named_inputs(model, x) for x, _ in batches(holdout))
            )
    for name in floats if given is not None and not spans else ():
        decided = preprocessing.decided(name)
        if given is not None and decided is not None and not fills(given, decided):
            raise ValueError(
                f"input_range is {given}, but the graph computes {preprocessing.formula(name)} of the input "
                f"{name!r}, which is meant for {decided[0]:g} to {decided[1]:g}. Leave input_range out, or "
                "give a holdout of the model's own inputs that shows it."
            )
    for what, by_name in spans.items():
        for name, span in by_name.items():
            expected = ranges[name]
            if expected is not None:
                check_span(what if len(floats) == 1 else f"{what} for {name!r}", span, expected)
    for name in floats:
        if ranges[name] is None:
            found = {
                preprocessing.by_data(name, by_name[name]) for by_name in spans.values() if name in by_name
            }
            ranges[name] = found.pop() if len(found) == 1 else None
    questions = [preprocessing.open_question(name) for name in floats if ranges[name] is None]
    return ranges, " ".join(q for q in questions if q) or None


def _spans(names: list[str], samples: Any) -> dict[str, Range]:
    """The least and the greatest value of each input, in the first samples."""
    found: dict[str, Range] = {}
    read = 0
    for named in samples:
        for name in names:
            if named[name].size:
                low, high = found.get(name, (np.inf, -np.inf))
                found[name] = min(low, float(named[name].min())), max(high, float(named[name].max()))
        read += max(map(len, named.values()), default=0)
        if read >= _MOST:
            break
    return found
