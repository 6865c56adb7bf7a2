"""Whether a run, a search or a job is the one that files were written by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MOST = 120  # characters of a value in a message


def as_stored(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it is after it was written as JSON and read again.

    Args:
        identity: What a run must have in common with the one that goes on with it, by name.

    Example:
        >>> as_stored({"epochs": (1, 2)})
        {'epochs': [1, 2]}
    """
    found: dict[str, Any] = json.loads(json.dumps(identity, default=str))
    return found


def require_same(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    begun: str,
    advice: str,
    unnamed: Mapping[str, Any] | None = None,
) -> None:
    """Raise unless two identities agree on everything that both of them name, or that `unnamed` names.

    Args:
        then: The identity that was stored.
        now: That of the run that would go on.
        begun: How the message begins: "The search in FOLDER was begun".
        advice: How it ends: what to do next.
        unnamed: The values of what an identity does not name; None: those do not count.

    Raises:
        ValueError: Names everything that differs, and how.

    Example:
        >>> require_same({"seed": 1}, {"seed": 1, "epochs": 3}, "The run was begun", "")
        >>> require_same({"seed": 1}, {"seed": 2}, "The run was begun", "Use what it had.")
        Traceback (most recent call last):
        ValueError: The run was begun with another seed: it was 1 and is 2. Use what it had.
    """
    unnamed = as_stored(unnamed or {})
    then, now = {**unnamed, **then}, {**unnamed, **as_stored(now)}
    parts = [
        f"{name.replace('_', ' ')}: {_difference(then[name], value)}"
        for name, value in now.items()
        if name in then and then[name] != value
    ]
    if parts:
        raise ValueError(f"{begun} with another {'; another '.join(parts)}. {advice}")


def _difference(then: Any, now: Any) -> str:
    """What differs between two values, as short as can be."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return f"it was {_short(then)} and is {_short(now)}"
    then, now = _members(then), _members(now)
    parts = []
    for name in {**then, **now}:
        if name not in now:
            parts.append(f"{name} is gone (it was {_short(then[name])})")
        elif name not in then:
            parts.append(f"{name} is new ({_short(now[name])})")
        elif then[name] != now[name]:
            parts.append(f"{name} was {_short(then[name])} and is {_short(now[name])}")
    return "; ".join(parts)


def _members(value: Any, path: str = "") -> dict[str, Any]:
    """The values inside nested dicts and lists of dicts, by the path to each."""
    if isinstance(value, dict) and value:
        inner = {f"{path}.{name}" if path else str(name): part for name, part in value.items()}
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        inner = {f"{path}[{index}]": part for index, part in enumerate(value)}
    else:
        return {path: value}
    return {name: v for start, part in inner.items() for name, v in _members(part, start).items()}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."
