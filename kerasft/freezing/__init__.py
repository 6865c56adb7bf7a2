"""Freeze and thaw a model by depth, leaf by leaf.

Keras's flag on a parent overwrites those of its children, and a running fit does not see a flag that
changes. This folder sets flags in the one order that works, and puts them back to the bit. A layer that is
a stage by itself (`kerasft.stages.StageLayer`) gets its flag and its policy here, and sets its weights'
flags itself. What the user froze, or names in `keep_frozen`, stays frozen at every depth.
"""

from kerasft.freezing.belonging import (
    frozen_part,
)
from kerasft.freezing.by_depth import (
    freeze,
    freeze_depth,
    frozen,
    unfreeze,
)
from kerasft.freezing.flags import (
    Flags,
    check_batch_norm,
    check_dropout,
    dropout_policy,
    set_depth,
)
from kerasft.freezing.keep_frozen import (
    check_keep_frozen,
    declare_kept,
    kept_frozen,
    log_kept,
)
from kerasft.stages import (
    BatchNormPolicy,
    DropoutPolicy,
)

__all__ = [
    "BatchNormPolicy",
    "DropoutPolicy",
    "Flags",
    "check_batch_norm",
    "check_dropout",
    "check_keep_frozen",
    "declare_kept",
    "dropout_policy",
    "freeze",
    "freeze_depth",
    "frozen",
    "frozen_part",
    "kept_frozen",
    "log_kept",
    "set_depth",
    "unfreeze",
]
