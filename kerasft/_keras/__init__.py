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
    Call,
    Operation,
    Program,
    calls,
    program,
)
from kerasft._keras.fit_loop import (
    RunningFit,
    after_train_begin,
    build_for,
    element_spec,
    goes_on,
    keeps_order,
    pass_epoch,
    pending_replay,
    reads_arrays,
    replace_callbacks,
    replay_epochs,
    running_fit,
    start_at,
    validation_iterator,
)
from kerasft._keras.inner_calls import (
    InnerCalls,
    NotDivisibleError,
    is_made_of_layers,
)
from kerasft._keras.layer_input import (
    layer_input,
    layer_inputs,
)
from kerasft._keras.layers import (
    children,
    has_lora,
    has_losses,
    has_own_call,
    in_safe_mode,
    lora_bases,
    lora_values,
    mask_of,
    own_trainable_variables,
    own_variables,
    random_state,
    set_lora_values,
    set_random_state,
    sublayers,
    takes_training,
    unbuilt,
    with_mask,
)
from kerasft._keras.metrics import (
    metric_direction,
)
from kerasft._keras.optimizer import (
    add_step_counts,
    description,
    has_anchors,
    has_trained,
    inner_optimizer,
    learning_rate_is_settable,
    must_trace_for,
    newer_optimizer,
    numbered_paths,
    optimizer_state,
    optimizer_variables,
    set_anchors,
    set_optimizer_state,
    settable_rate,
    trained_weights,
)
from kerasft._keras.structure import (
    settings,
    structure,
)
from kerasft._keras.traced_call import (
    multiplied_weights,
    traced_call,
)
from kerasft._keras.tracing import (
    floating_point_operations,
    impure_operations,
    is_stateless,
    release_traced_steps,
)
from kerasft._keras.training_mode import (
    set_training_mode,
    training_mode,
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
    "Call",
    "RunningFit",
    "InnerCalls",
    "NotDivisibleError",
    "Operation",
    "Program",
    "add_step_counts",
    "after_train_begin",
    "apply_trainable_flags",
    "build_for",
    "calls",
    "description",
    "element_spec",
    "floating_point_operations",
    "has_lora",
    "goes_on",
    "has_anchors",
    "has_losses",
    "has_own_call",
    "has_trained",
    "impure_operations",
    "in_safe_mode",
    "inner_optimizer",
    "is_distributed",
    "is_made_of_layers",
    "is_stateless",
    "keeps_order",
    "layer_input",
    "layer_inputs",
    "learning_rate_is_settable",
    "lora_bases",
    "lora_values",
    "mask_of",
    "metric_direction",
    "multiplied_weights",
    "must_trace_for",
    "newer_optimizer",
    "numbered_paths",
    "optimizer_state",
    "optimizer_variables",
    "overridden_methods",
    "own_trainable_variables",
    "own_variables",
    "pass_epoch",
    "pending_replay",
    "program",
    "random_state",
    "reads_arrays",
    "release_traced_steps",
    "replace_callbacks",
    "replay_epochs",
    "running_fit",
    "set_anchors",
    "set_lora_values",
    "set_optimizer_state",
    "set_random_state",
    "set_training_mode",
    "settable_rate",
    "settings",
    "start_at",
    "step_with",
    "steps_per_call",
    "structure",
    "sublayers",
    "takes_training",
    "traced_call",
    "trained_weights",
    "training_mode",
    "unbuilt",
    "validation_iterator",
    "with_mask",
]
