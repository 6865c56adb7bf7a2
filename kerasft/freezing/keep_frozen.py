"""`keep_frozen` and `everything`: what the user says outright about layers that are to stay frozen."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import keras

from kerasft import _keras
from kerasft.stages import KeptFrozen, Stages, UserFlags, layer_paths, layers_at, matches, record

logger = logging.getLogger(__name__)
_SHOWN = 5  # names in a line of the log


def check_keep_frozen(addresses: object) -> None:
    """Check `keep_frozen` before there is a model.

    Raises:
        TypeError: It is not a sequence of strings.
    """
    if isinstance(addresses, str) or not isinstance(addresses, Sequence):
        raise TypeError(f"keep_frozen is a list of layers' names, paths or patterns; received {addresses!r}.")
    if wrong := [address for address in addresses if not isinstance(address, str)]:
        raise TypeError(
            f"keep_frozen is a list of layers' names, paths or patterns; received {wrong!r} in it. Name a "
            "layer by its `name`."
        )


def declare_kept(stages: Stages, keep_frozen: Sequence[str] = (), everything: bool = False) -> KeptFrozen:
    """Note what is to stay frozen at every freeze depth, for all calls of `set_depth` from now on.

    No flag changes here.

    Args:
        stages: The stages of the model.
        keep_frozen: As in `freeze`; takes the place of what was named before.
        everything: As in `freeze`.

    Returns:
        What stays frozen.

    Raises:
        TypeError, ValueError: As in `freeze`, about `keep_frozen`.
    """
    check_keep_frozen(keep_frozen)
    named = {id(layer) for address in keep_frozen for layer in _layers_under(stages, address)}
    kept = kept_frozen(stages)
    inside = {id(layer) for stage in stages for layer in stage.layers}
    for layer in _keras.sublayers(stages.model):
        user = kept.wanted(layer) if id(layer) in inside else UserFlags.of(layer)
        user = user.all_on(layer) if everything else user
        record(layer, replace(user, keep_frozen=id(layer) in named))
    return kept_frozen(stages)


def kept_frozen(stages: Stages) -> KeptFrozen:
    """What stays frozen at every freeze depth, as far as is known now."""
    return KeptFrozen(stages.model, [stage.layers for stage in stages])


def log_kept(stages: Stages, kept: KeptFrozen, depth: int) -> None:
    """Say how many layers that the user froze a freeze depth thaws, and which stay frozen."""
    if count := kept.thawed_layers(depth):
        logger.info(
            "Freeze depth %d thaws %d %s that you had frozen: what is frozen at the beginning of a model is "
            "taken for a freeze depth. keep_frozen=[...] keeps those frozen that it names.",
            depth,
            count,
            "layer" if count == 1 else "layers",
        )
    if names := [name for index in range(len(stages)) for name in kept.names(index)]:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        logger.info(
            "Kept frozen at every freeze depth: %s%s. everything=True lets all of them train, but those in "
            "keep_frozen.",
            ", ".join(names[:_SHOWN]),
            more,
        )


def _layers_under(stages: Stages, address: str) -> Iterable[keras.Layer]:
    """The layers with weights that an address of `keep_frozen` means, and those inside them."""
    paths = layer_paths(stages.model)
    if any(matches(address, path) for path, _ in paths):
        found = layers_at(paths, address, "`keep_frozen`")
    else:
        meant = [stage for stage in stages if fnmatch.fnmatchcase(stage.name, address)]
        found = [layer for stage in meant for layer in stage.layers]
        if not found:
            raise ValueError(
                f"`keep_frozen` names {address!r}, which is no layer and no stage. There are the layers "
                f"{[path for path, _ in paths]} and the stages {stages.names}."
            )
    layers = [inner for layer in found for inner in _keras.sublayers(layer) if inner.weights]
    if not layers:
        raise ValueError(
            f"`keep_frozen` names {address!r}, which has no weights, so there is nothing to keep frozen. "
            "Leave it out."
        )
    return layers
