"""The private parts of Keras that kerasft needs.

Keras's layer tree, call graph, optimizer slots and training function are private. The rest of kerasft
reaches them through the names below alone, so that a release of Keras that moves one of them breaks this
folder's tests and nothing else. `kerasft.hub.flatten` does the same for TensorFlow's graphs.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"kerasft trains with Keras's TensorFlow backend, but Keras runs on {keras.backend.backend()!r}. "
        'Set the environment variable KERAS_BACKEND="tensorflow" before Keras is imported.'
    )

from kerasft._keras.call_graph import (
    NotDivisibleError,
    Operation,
    Program,
    calls,
    program,
)
from kerasft._keras.fit_loop import (
    RunningFit,
    build_for,
    element_spec,
    goes_on,
    keeps_order,
    pass_epoch,
    pending_replay,
    reads_arrays,
    replay_epochs,
    running_fit,
    start_at,
    validation_iterator,
)
from kerasft._keras.layers import (
    children,
    has_losses,
    in_safe_mode,
    mask_of,
    own_trainable_variables,
    own_variables,
    random_state,
    random_variables,
    set_random_state,
    sublayers,
    takes_training,
    with_mask,
)
from kerasft._keras.optimizer import (
    add_step_counts,
    description,
    inner_optimizer,
    learning_rate_is_settable,
    must_trace_for,
    newer_optimizer,
    optimizer_state,
    optimizer_variables,
    set_optimizer_state,
    settable_rate,
)
from kerasft._keras.tracing import (
    floating_point_operations,
    impure_operations,
    release_traced_steps,
)
from kerasft._keras.training_step import (
    apply_trainable_flags,
    is_distributed,
    overridden_methods,
    step_with,
    steps_per_call,
)

__all__ = [
    "children",
    "RunningFit",
    "NotDivisibleError",
    "Operation",
    "Program",
    "add_step_counts",
    "apply_trainable_flags",
    "build_for",
    "calls",
    "description",
    "element_spec",
    "floating_point_operations",
    "goes_on",
    "has_losses",
    "impure_operations",
    "in_safe_mode",
    "inner_optimizer",
    "is_distributed",
    "keeps_order",
    "learning_rate_is_settable",
    "mask_of",
    "must_trace_for",
    "newer_optimizer",
    "optimizer_state",
    "optimizer_variables",
    "overridden_methods",
    "own_trainable_variables",
    "own_variables",
    "pass_epoch",
    "pending_replay",
    "program",
    "random_state",
    "random_variables",
    "reads_arrays",
    "release_traced_steps",
    "replay_epochs",
    "running_fit",
    "set_optimizer_state",
    "set_random_state",
    "settable_rate",
    "start_at",
    "step_with",
    "steps_per_call",
    "sublayers",
    "takes_training",
    "validation_iterator",
    "with_mask",
]
