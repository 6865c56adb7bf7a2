"""Phases as JSON, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kerasft.unfreezing.phase import Phase


def _changed_fields(phase: Phase) -> dict[str, Any]:
    """The fields that are not at their default; the depth has none."""
    values = {field: getattr(phase, field.name) for field in fields(phase)}
    return {field.name: value for field, value in values.items() if value != field.default}


def _phase_from(entry: Any) -> Phase:
    """The phase that a JSON object describes."""
    known = [field.name for field in fields(Phase)]
    if not isinstance(entry, dict) or "depth" not in entry:
        raise ValueError(f"It reads {entry!r}, but needs `depth` and may have {known[1:]}.")
    if unknown := [name for name in entry if name not in known]:
        raise ValueError(f"It has {unknown}, which do not exist. It needs `depth` and may have {known[1:]}.")
    return Phase(**entry)
