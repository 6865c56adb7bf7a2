"""Why a stage of a SavedModel can't follow a policy for batch normalization or for dropout."""

from __future__ import annotations

from collections.abc import Sequence

from kerasft.stages import BatchNormPolicy


def why_no_batch_norm(
    policy: BatchNormPolicy,
    name: str,
    has_training: bool,
    statistics: Sequence[str],
    unclear: Sequence[str],
) -> str | None:
    """Why a stage can't follow a policy other than "inference"; None if it can.

    Args:
        policy: The policy.
        name: The stage's.
        has_training: Whether it has a graph for training.
        statistics: The names of the statistics in it.
        unclear: The names of those whose scale and offset are not known.
    """
    if not has_training and statistics:
        return (
            f"batch_norm={policy!r} needs a training graph, which the stage {name!r}, with the statistics "
            f"{[*statistics]}, lacks: its SavedModel has none, or none that can be divided. Use "
            '"inference", or None, with which each Hub stage does as it was loaded.'
        )
    if policy in ("statistics", "frozen") and unclear:
        return (
            f"With batch_norm={policy!r} scale and offset of batch normalization must stay, but in the "
            f"graph of the stage {name!r} it can't be told which weights these are for the statistics "
            f'{[*unclear]}. Use "train" or "inference".'
        )
    return None


def why_no_dropout(name: str, has_training: bool, moved: Sequence[str]) -> str | None:
    """Why a frozen stage can't draw random numbers and do nothing else that training does; None if it can.

    Args:
        name: The stage's.
        has_training: Whether it has a graph for training.
        moved: The names of the statistics in it, or of what that graph updates.
    """
    advice = 'Use "inference", or None, with which a frozen Hub stage draws nothing.'
    if not has_training:
        return (
            f'dropout="train" needs a training graph, which the stage {name!r} lacks: its SavedModel has '
            f"none, or none that can be divided. {advice}"
        )
    if not moved:
        return None
    return (
        f'dropout="train" runs the training graph of the stage {name!r} while it is frozen, and that graph '
        f"normalizes by the batch or updates {[*moved]}, which must not change. {advice}"
    )
