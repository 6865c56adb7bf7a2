"""An optimizer with a learning-rate factor and a step count for every variable.

Keras corrects Adam's bias by one count for all variables, and has one learning rate. Here the optimizer's
own class gains a mixin, so that clipping, weight decay, averages and accumulation stay as they are.

Importing this folder registers the classes that saved models name: `kerasft>LrMultipliers` and
`kerasft>ScaledLrMultipliers`, and the variants that some optimizers need.
"""

import kerasft._keras.optimizer.variants  # noqa: F401 - they register themselves
from kerasft._keras.optimizer.anchors import (
    has_anchors,
    has_trained,
    set_anchors,
)
from kerasft._keras.optimizer.averages import (
    trained_weights,
)
from kerasft._keras.optimizer.growth import (
    extend_optimizer,
    optimizer_state,
    set_optimizer_state,
)
from kerasft._keras.optimizer.keys import (
    numbered_paths,
)
from kerasft._keras.optimizer.lr_multipliers import (
    add_step_counts,
    must_trace_for,
)
from kerasft._keras.optimizer.settings import (
    description,
    inner_optimizer,
    learning_rate_is_settable,
    newer_optimizer,
    settable_rate,
)
from kerasft._keras.optimizer.slots import (
    optimizer_variables,
)

__all__ = [
    "add_step_counts",
    "description",
    "extend_optimizer",
    "has_anchors",
    "has_trained",
    "inner_optimizer",
    "learning_rate_is_settable",
    "must_trace_for",
    "newer_optimizer",
    "numbered_paths",
    "optimizer_state",
    "optimizer_variables",
    "set_anchors",
    "set_optimizer_state",
    "settable_rate",
    "trained_weights",
]
