"""Freeze and thaw a model by depth, leaf by leaf.

Keras's flag on a parent overwrites those of its children, and a fit that runs does not see a flag that
changes. This folder sets flags in the one order that works, and puts them back to the bit.
"""

from kerasft.freezing.by_depth import (
    BatchNormPolicy,
    freeze,
    freeze_depth,
    frozen,
    unfreeze,
)
from kerasft.freezing.flags import (
    Flags,
    check_batch_norm,
    set_depth,
)

__all__ = [
    "BatchNormPolicy",
    "Flags",
    "check_batch_norm",
    "freeze",
    "freeze_depth",
    "frozen",
    "set_depth",
    "unfreeze",
]
