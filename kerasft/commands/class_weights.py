"""How much the images or texts of each class count in training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasft.arguments import check_number

BALANCED = "balanced"

ClassWeights = str | Mapping[str, float]

_OPTION = "--class-weights"
_UNEVEN = 3  # times the images of the smallest class, beyond which a line says so
_SHOWN = 10
_HOW = f"""{_OPTION} takes `balanced`, or a weight for each label as JSON: '{{"cat": 1, "dog": 2.5}}'"""


def read_class_weights(text: str) -> ClassWeights:
    """Read "balanced", or a JSON object of a weight for each label.

    Raises:
        TypeError: A weight is no number.
        ValueError: It is something else, a label is there twice, or a weight is not above 0.

    Example:
        >>> read_class_weights('{"cat": 1, "dog": 2.5}')
        {'cat': 1, 'dog': 2.5}
    """
    if text.strip() == BALANCED:
        return BALANCED
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{_HOW}; received {text!r}, which is no JSON: {error}.") from None
    return _checked(found)


def weights_of(
    given: ClassWeights | None, class_names: Sequence[str], counts: Sequence[int]
) -> dict[int, float] | None:
    """The weight of each class, as Keras's `class_weight` takes it.

    Args:
        given: "balanced": the number of training samples / (classes · those of the class), so that each class
            counts the same in all, and a sample 1 on average; or a weight for each label; or None.
        class_names: Name of each class.
        counts: Number of training samples of each.

    Raises:
        TypeError: A weight is no number.
        ValueError: A label does not exist or has no weight, a weight is not above 0, or a class without
            training samples is to be balanced.

    Example:
        >>> weights_of("balanced", ("cat", "dog"), (30, 10))
        {0: 0.6666666666666666, 1: 2.0}
    """
    if given is None:
        return None
    if given == BALANCED:
        empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
        if empty:
            raise ValueError(
                f"{_OPTION} balanced needs a training sample of each class; there is none of "
                f"{_some(map(repr, empty))}."
            )
        return {label: sum(counts) / (len(counts) * count) for label, count in enumerate(counts)}
    weights = _checked(given)
    unknown = [repr(label) for label in weights if label not in class_names]
    missing = [repr(name) for name in class_names if name not in weights]
    if unknown or missing:
        wrong = [f"there is no label {_some(unknown)}"] if unknown else []
        wrong += [f"no weight is given for {_some(missing)}"] if missing else []
        raise ValueError(f"{_OPTION}: {'; '.join(wrong)}. The labels are {_some(map(repr, class_names))}.")
    return {label: float(weights[name]) for label, name in enumerate(class_names)}


def say_weights(
    weights: Mapping[int, float] | None,
    class_names: Sequence[str],
    counts: Sequence[int],
    say: Callable[[str], object],
) -> None:
    """Say the weights in a line; without them, that classes are uneven, if the largest has > 3 times the
    training samples of the smallest."""
    if weights is not None:
        shown = _some(f"{name} {weights[label]:.4g}" for label, name in enumerate(class_names))
        say(f"Weights of the classes in training: {shown}.")
        return
    least, most = min(counts), max(counts)
    if most > _UNEVEN * least:
        small, large = class_names[counts.index(least)], class_names[counts.index(most)]
        say(
            f"The classes are uneven: {large!r} has {most:,} to train, {small!r} {least:,}. "
            f"{_OPTION} balanced gives each class the same weight in all."
        )


def named(weights: Mapping[int, float] | None, class_names: Sequence[str]) -> dict[str, float] | None:
    """The weights by the names of the classes."""
    return None if weights is None else {name: weights[label] for label, name in enumerate(class_names)}


def _checked(found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping):
        raise ValueError(f"{_HOW}; received {found!r}.")
    for label, weight in found.items():
        check_number(f"The weight of {label!r} in {_OPTION}", weight, above=0)
    return dict(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        labels = [label for label, _ in pairs]
        twice = [repr(label) for label in found if labels.count(label) > 1]
        raise ValueError(f"{_OPTION} gives {_some(twice)} more than one weight.")
    return found


def _some(words: Any) -> str:
    found = list(words)
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
