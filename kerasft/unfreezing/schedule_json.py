"""Phases as JSON, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kerasft.files import parse_json
from kerasft.unfreezing.phase import Phase


def changed_fields(phase: Phase) -> dict[str, Any]:
    """The fields that are not at their default; the depth has none."""
    values = {field: getattr(phase, field.name) for field in fields(phase)}
    return {field.name: value for field, value in values.items() if value != field.default}


def phases_from(text: str) -> list[Phase]:
    """The phases of a schedule in JSON.

    Raises:
        ValueError: Lists every fault, with the phase's number, from 0, and the field.
    """
    try:
        return _phases(parse_json(text, "The schedule"))
    except RecursionError:
        raise ValueError("The schedule is nested too deeply to be one.") from None


def _phases(content: object) -> list[Phase]:
    if not isinstance(content, dict) or not isinstance(content.get("phases"), list) or len(content) > 1:
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f'A schedule in JSON is {{"phases": [...]}}, with an object for each phase; received {found}.'
        )
    phases, faults = [], []
    for index, entry in enumerate(content["phases"]):
        try:
            phases.append(_phase_from(entry))
        except (TypeError, ValueError) as error:
            faults.append(f"Phase {index}: {error}")
    if faults:
        raise ValueError("\n".join(faults))
    return phases


def _phase_from(entry: object) -> Phase:
    known = [field.name for field in fields(Phase)]
    if not isinstance(entry, dict) or "depth" not in entry:
        raise ValueError(f"It reads {entry!r}, but needs `depth` and may have {known[1:]}.")
    if unknown := [name for name in entry if name not in known]:
        raise ValueError(f"It has {unknown}, which do not exist. It needs `depth` and may have {known[1:]}.")
    return Phase(**entry)
