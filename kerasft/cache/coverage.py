"""What of the frozen layers a cut does not cover, why, and what helps."""

from __future__ import annotations

from collections.abc import Collection

import keras

from kerasft import _keras
from kerasft.cache.cuts import Cut, NoCutError, find_cut, why_nondeterministic
from kerasft.freezing import frozen_part
from kerasft.stages import StageLayer

LEAST_SHARE = 0.05  # of the model's work; a record that saves less takes longer to write and read
_SHOWN = 3  # names in a message


def explained_cut(program: _keras.Program, nondeterministic: Collection[int] = ()) -> Cut:
    """`find_cut`, whose error says what helps against random numbers in frozen layers.

    Raises:
        NoCutError: There is no cut.
    """
    try:
        return find_cut(program, nondeterministic)
    except NoCutError as error:
        if drawing := _drawing(program, nondeterministic):
            raise NoCutError(f"{error} {_advice(drawing)}") from None
        raise


def too_little(
    program: _keras.Program, cut: Cut, least: float, nondeterministic: Collection[int] = ()
) -> str:
    """Say why a cut is not recorded that saves less than is worth it."""
    reason = shortfall(program, cut, nondeterministic)
    said = (
        f"A record at {cut.name!r} would save {cut.share:.1%} of the model's work; it pays from "
        f"{least:.0%} on."
    )
    return said if reason is None else f"{said} {reason}"


def shortfall(program: _keras.Program, cut: Cut, nondeterministic: Collection[int] = ()) -> str | None:
    """Say why a cut leaves out layers that are frozen, with nothing that trains before them.

    Args:
        program: The model.
        cut: The cut in force.
        nondeterministic: Indices of calls that are known not to be deterministic.

    Returns:
        A sentence or two; None if nothing is left out.
    """
    covered = {id(operation) for operation in cut.before}
    left = [i for i in _frozen_first(program) if id(program.operations[i]) not in covered]
    if not any(program.operations[i].weights for i in left):
        return None
    if drawing := _drawing(program, nondeterministic):
        return _advice(drawing)
    for i in left:
        operation = program.operations[i]
        reason = why_nondeterministic(program, operation, ())
        if i in nondeterministic:
            reason = "draws random numbers, writes variables or adds a loss"
        if reason is not None:
            return f"The frozen layer {operation.name!r} {reason}."
    return None  # what costs next to nothing is computed again


def _advice(drawing: list[str]) -> str:
    shown = ", ".join(repr(name) for name in drawing[:_SHOWN])
    more = f" and {len(drawing) - _SHOWN} more" if len(drawing) > _SHOWN else ""
    one = len(drawing) == 1
    return (
        f"The frozen {'layer' if one else 'layers'} {shown}{more} {'draws' if one else 'draw'} random "
        'numbers while the model trains. With dropout="inference" in freeze, GradualUnfreezing or '
        f"load_backbone {'it draws' if one else 'they draw'} none, and can be recorded."
    )


def _drawing(program: _keras.Program, nondeterministic: Collection[int]) -> list[str]:
    """The layers that draw random numbers and would not under the policy, by name, in the order of calls."""
    frozen = [x for x in _keras.sublayers(program.model) if _keras.own_variables(x) and not _changes(x)]
    part = {id(layer) for layer in frozen_part(program.model, frozen)}
    names = []
    for i in _frozen_first(program):
        operation = program.operations[i]
        if not isinstance(operation.layer, keras.Layer):
            continue
        helped = any(
            id(x) in part and _keras.training_mode(x) != "inference"
            for x in _keras.sublayers(operation.layer)
            if _keras.takes_training(x)
        )
        if helped and (i in nondeterministic or _keras.traced_call(program, operation).draws):
            names.append(operation.name)
    return list(dict.fromkeys(names))


def _frozen_first(program: _keras.Program) -> list[int]:
    """The calls with nothing that trains before them, by their indices."""
    producer = {n: i for i, operation in enumerate(program.operations) for n in operation.writes}
    found: set[int] = set()
    for i, operation in enumerate(program.operations):
        parts = _keras.sublayers(operation.layer) if isinstance(operation.layer, keras.Layer) else ()
        if all(producer[n] in found for n in operation.reads if n in producer) and not any(
            _changes(part) for part in parts
        ):
            found.add(i)
    return sorted(found)


def _changes(layer: keras.Layer) -> bool:
    """Whether training changes weights that a layer owns."""
    if isinstance(layer, StageLayer) and layer.updates_itself:
        return True
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.weights:
        return True
    return any(v.trainable for v in _keras.own_variables(layer))
