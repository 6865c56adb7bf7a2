"""Phases as JSON, and back; what reads it may read YAML too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import keras

from kerasft.files import parse_json
from kerasft.unfreezing.phase import Phase, plain_fields


def changed_fields(phase: Phase) -> dict[str, Any]:
    """The fields that are not at their default; the depth has none."""
    defaults = {field.name: field.default for field in fields(phase)}
    return {name: value for name, value in plain_fields(phase).items() if value != defaults[name]}


def phases_from(text: str, parse: Callable[[str, str], Any] = parse_json) -> list[Phase]:
    """The phases of a schedule in JSON, or in what `parse` reads.

    Raises:
        ValueError: Lists every fault, with the phase's number, from 0, and the field.
    """
    try:
        return _phases(parse(text, "The schedule"))
    except RecursionError:
        raise ValueError("The schedule is nested too deeply to be one.") from None


def _phases(content: object) -> list[Phase]:
    shape = 'A schedule is {"phases": [...]}, with an object for each phase; received'
    if not isinstance(content, dict):
        raise ValueError(f"{shape} {_kind(content)}.")
    if list(content) != ["phases"]:
        raise ValueError(f"{shape} an object with {f'the keys {list(content)}' if content else 'no key'}.")
    if not isinstance(content["phases"], list):
        raise ValueError(f'{shape} {_kind(content["phases"])} as the value of "phases", not a list.')
    phases, faults = [], []
    for index, entry in enumerate(content["phases"]):
        try:
            phases.append(_phase_from(entry))
        except (TypeError, ValueError) as error:
            faults.append(f"Phase {index}: {error}")
    if faults:
        raise ValueError("\n".join(faults))
    return phases


def _kind(content: object) -> str:
    return "no value" if content is None else type(content).__name__


def _phase_from(entry: object) -> Phase:
    known = [field.name for field in fields(Phase)]
    if not isinstance(entry, dict) or "depth" not in entry:
        raise ValueError(f"It reads {entry!r}, but needs `depth` and may have {known[1:]}.")
    if unknown := [name for name in entry if name not in known]:
        raise ValueError(f"It has {unknown}, which do not exist. It needs `depth` and may have {known[1:]}.")
    return Phase(**{**entry, **_rate_from(entry)})


def _rate_from(entry: dict[str, Any]) -> dict[str, Any]:
    """The learning-rate schedule of an entry, if it has one."""
    written = entry.get("learning_rate")
    if not isinstance(written, dict):
        return {}
    try:
        found = keras.optimizers.schedules.deserialize(written)
        if not isinstance(found, keras.optimizers.schedules.LearningRateSchedule):
            raise TypeError(f"it describes {found!r}.")
    except Exception as error:  # of Keras or of a schedule's class: any kind
        raise ValueError(
            "Its learning_rate is neither a number nor what keras.optimizers.schedules.serialize gives: "
            f"{error} A class of your own has to be registered (keras.saving.register_keras_serializable)."
        ) from None
    return {"learning_rate": found}
