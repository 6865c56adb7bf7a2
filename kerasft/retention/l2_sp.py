"""with_l2_sp: pre-trained weights decay towards the values that they began with."""

from __future__ import annotations

import keras
import numpy as np

from kerasft import _keras
from kerasft.arguments import check_number
from kerasft.learning_rates import Multipliers, with_lr_multipliers
from kerasft.retention.pairing import Original, pair
from kerasft.stages import Stages, find_stages


def with_l2_sp(
    optimizer: keras.optimizers.Optimizer,
    strength: float,
    model: keras.Model | Stages,
    *,
    reference: Original | None = None,
    shared: int | str | None = None,
) -> keras.optimizers.Optimizer:
    """L2-SP: let pre-trained weights decay towards the values that they began with.

    A step takes `rate * strength * (w - w0)` off a pre-trained weight `w`, where `w0` is its pre-trained
    value and `rate` the optimizer's learning rate times the weight's multiplier. It is decoupled from the
    gradient, as AdamW's weight decay is, and takes its place. New weights (the head) have no `w0`: they keep
    the optimizer's own `weight_decay` towards zero, the paper's second term, which is none for
    `keras.optimizers.Adam(...)` and .004 for `AdamW(...)`.

    `with_lr_multipliers` may come before or after. Its `scale_weight_decay` and `decay_vectors` hold here as
    well, and so does `optimizer.exclude_from_weight_decay`. The pre-trained values are a part of the
    optimizer's state, of the size of the weights that it trains: saved models and backups hold them.

    Args:
        optimizer: Any optimizer that `with_lr_multipliers` takes; changed in place and returned.
        strength: The share of the distance, times the learning rate, that a step takes away; 0 for none.
        model: The model that trains.
        reference: The pre-trained model, or its `get_weights()`. None takes the values that the optimizer has
            if it has pre-trained ones, else those that the stages before the last one have now, where a model
            in the model, the backbone, holds just them.
        shared: How many stages the reference and the model have in common, or the name of the first that is
            new; None finds it out.

    Returns:
        `optimizer` itself.

    Raises:
        TypeError: `optimizer` is not a Keras optimizer, or `model` no model.
        ValueError: `strength` is negative or not finite; the reference is of another architecture; nothing
            tells which stages are pre-trained; the optimizer has trained another model.

    Example:
        >>> body = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="body")])
        >>> net = keras.Sequential([body, keras.layers.Dense(2, name="top")])
        >>> optimizer = with_l2_sp(keras.optimizers.SGD(0.1), 0.01, net, shared="top")
        >>> isinstance(optimizer, keras.optimizers.SGD)
        True

    References:
        Li, Grandvalet & Davoine (2018), Explicit inductive bias for transfer learning with convolutional
        networks, arXiv:1802.01483; Loshchilov & Hutter (2019), arXiv:1711.05101, for decoupled decay.
    """
    check_number("strength", strength, at_least=0)
    stages = find_stages(model)
    if not hasattr(_keras.inner_optimizer(optimizer), "lr_multipliers"):
        with_lr_multipliers(optimizer, Multipliers({}))
    root = stages.model
    trains = root.compiled and root.optimizer is optimizer
    if _keras.has_trained(optimizer) and not trains:
        raise ValueError(
            f"The optimizer has trained, and not {root.name!r}: its training step has to be traced again. "
            "Pass the model that it trains."
        )
    if reference is None and shared is None and _keras.has_anchors(optimizer):
        _keras.set_anchors(optimizer, float(strength), None)
    else:
        anchored = _anchored(stages, reference, shared)
        trains_ever = {id(v) for part in _keras.sublayers(root) for v in _keras.own_trainable_variables(part)}
        pairs = [(v, anchored.get(id(v)) if id(v) in trains_ever else None) for v in root.variables]
        _keras.set_anchors(optimizer, float(strength), pairs)
    if trains:
        _keras.apply_trainable_flags(root)
    return optimizer


def _anchored(stages: Stages, reference: Original | None, shared: int | str | None) -> dict[int, np.ndarray]:
    """The pre-trained values, by the `id` of the weight that they belong to."""
    if reference is None:
        if shared is None and not _ends_with_a_model(stages):
            raise ValueError(
                f"Nothing tells which weights of {stages.model.name!r} are pre-trained: it holds no model. "
                f"Its stages are {stages.names}. Give reference=, the pre-trained model, or shared=, the "
                f"name of the first new stage: shared={stages.names[-1]!r} if the last is a new head, shared="
                f"{len(stages)} if none is new."
            )
        count = len(stages) - 1 if shared is None else stages.depth(shared)
        variables = [v for stage in stages[:count] for v in stage.weights]
        return {id(v): np.array(v.numpy()) for v in variables}
    found = pair("with_l2_sp", stages, reference, shared)
    return {id(v): value for v, value in zip(found.variables, found.values, strict=True)}


def _ends_with_a_model(stages: Stages) -> bool:
    """Whether a model in the model holds the weights of all stages but the last, and no others."""
    body = {id(v) for stage in stages[:-1] for v in stage.weights}
    inner = (x for x in _keras.sublayers(stages.model) if isinstance(x, keras.Model))
    return any({id(v) for v in x.weights} == body for x in inner if x is not stages.model)
