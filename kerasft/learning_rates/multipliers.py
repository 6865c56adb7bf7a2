"""Learning-rate multipliers: each variable trains at the optimizer's rate times its own factor."""

from __future__ import annotations

import fnmatch
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence

import keras

from kerasft import _keras
from kerasft.arguments import check_number
from kerasft.stages import Stages, check_stage_name, find_stages, is_pattern, layer_paths, layers_at, matches

_WHAT = "A rule for learning rates"


class Multipliers(Mapping[str, float]):
    """Factors by variable path, resolved against a model and read-only.

    Where Keras gives several variables one path, as in models within a model, the second has `path#2`.

    Args:
        factors: The factors.
        variables: The variable of each factor, in the same order, if they are known.
    """

    def __init__(self, factors: Mapping[str, float], variables: Iterable[keras.Variable] = ()) -> None:
        self._factors = dict(factors)
        # no hold on the variables: factors may outlive their model
        self._keys = {id(v): (weakref.ref(v), key) for v, key in zip(variables, self._factors, strict=False)}

    def key_of(self, variable: keras.Variable) -> str | None:
        """The key of a variable of the model that the factors were resolved against; None for others."""
        reference, key = self._keys.get(id(variable), (None, None))
        return key if reference is not None and reference() is variable else None

    def __reduce__(self) -> tuple[type[Multipliers], tuple[dict[str, float]]]:
        return type(self), (self._factors,)

    def __getitem__(self, path: str) -> float:
        return self._factors[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._factors)

    def __len__(self) -> int:
        return len(self._factors)

    def __repr__(self) -> str:
        return f"Multipliers({self._factors})"


def with_lr_multipliers(
    optimizer: keras.optimizers.Optimizer,
    multipliers: Mapping[str, float],
    *,
    model: keras.Model | Stages | None = None,
    scale_weight_decay: bool = True,
    decay_vectors: bool = True,
) -> keras.optimizers.Optimizer:
    """Give each variable a learning rate of its own: the optimizer's rate times a factor.

    The step that a variable takes equals that of the same optimizer alone with its learning rate times
    the factor. Each variable also counts its own steps, so that one that is thawed late takes the first
    step of a fresh optimizer. A factor of 0 means no movement at all.

    Args:
        optimizer: Any Keras optimizer. It is changed in place and returned: its class gains a mixin, so
            clipping, weight decay, EMA, accumulation, loss scaling and `isinstance` stay as they are.
        multipliers: The result of `layerwise_decay`, `discriminative` or `resolve_multipliers`, or a
            mapping from names of stages, and names, paths and globs of layers, to factors (then `model` is
            needed; see `resolve_multipliers`).
        model: The model whose layers the names belong to. If it trains with `optimizer`, its training step
            is traced again.
        scale_weight_decay: Whether decoupled weight decay is scaled as well.
        decay_vectors: Whether weights of at most one axis (biases, and the scales and offsets of
            normalizations) decay as well. False leaves them out, as timm does by default.

    Returns:
        `optimizer` itself.

    Raises:
        TypeError: `optimizer` is not a Keras optimizer, `multipliers` no mapping, or `model` no model.
        ValueError: The optimizer is not linear in its learning rate (Adafactor with relative steps, Ftrl),
            or several in one (MultiOptimizer); names come without a model; a name matches nothing; a
            factor is negative or not finite; the optimizer has trained, and needs the model to go on.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="body"),
        ...                         keras.layers.Dense(1, name="head")])
        >>> optimizer = with_lr_multipliers(keras.optimizers.AdamW(1e-3), layerwise_decay(net, 0.5))
        >>> isinstance(optimizer, keras.optimizers.AdamW)
        True

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.2; Kingma & Ba (2015), arXiv:1412.6980, section 3.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            f"with_lr_multipliers expects a Keras optimizer, not {optimizer!r}. "
            "Create one first, for instance keras.optimizers.AdamW(1e-3)."
        )
    inner = _keras.inner_optimizer(optimizer)
    if isinstance(inner, keras.optimizers.Ftrl):
        raise ValueError("Ftrl's step is not linear in its learning rate, so it can't be scaled.")
    if isinstance(inner, keras.optimizers.Adafactor) and inner.relative_step:
        raise ValueError(
            "Adafactor with relative_step=True chooses its own learning rate, so it can't be scaled. "
            "Create it with relative_step=False."
        )
    if isinstance(inner, _keras.newer_optimizer("MultiOptimizer")):
        raise ValueError(
            "MultiOptimizer is several optimizers, each with variables of its own. Take one of them, and "
            "give it multipliers."
        )
    if model is not None:
        _check_model("with_lr_multipliers", model)
    if not isinstance(multipliers, Multipliers):
        _check_rules("`multipliers`", multipliers)
        if model is None:
            raise ValueError(
                f"The names {list(multipliers)} can only be resolved against a model: pass model=..., or "
                "use resolve_multipliers(model, {...}), layerwise_decay or discriminative."
            )
        multipliers = resolve_multipliers(model, multipliers)
    root = model.model if isinstance(model, Stages) else model
    trains = root is not None and root.compiled and root.optimizer is optimizer
    decay = scale_weight_decay, decay_vectors
    if _keras.must_trace_for(optimizer, multipliers, *decay) and not trains:
        raise ValueError(
            "The optimizer has trained, and a factor becomes 0 or ceases to be, or how weights decay "
            "changes: the training step has to be traced again. Pass the model that it trains: model=..."
        )
    _keras.add_step_counts(optimizer, multipliers, *decay)
    if trains:
        _keras.apply_trainable_flags(root)
    return optimizer


def resolve_multipliers(
    model: keras.Model | Stages, rules: Mapping[str, float], *, default: float = 1.0
) -> Multipliers:
    """Map each trainable variable of `model`, frozen ones included, to its learning-rate factor.

    Args:
        model: A built model, or its `Stages`; nothing in it is changed.
        rules: Ordered addresses to factors (dimensionless, >= 0); the first that matches a variable wins. An
            address is a stage's name, which comes before a layer's, the name or path (`student/body`) of a
            layer, also of one that holds other layers, or a glob for any number of stages and layers.
        default: Factor for variables that no rule matches.

    Returns:
        One factor for each variable, by the variable's path, in model order; by `path#2` for the
        second variable of a path.

    Raises:
        TypeError: `model` is no model, `rules` no mapping from names, or a factor not a number.
        ValueError: A factor is negative or not finite, a rule matches nothing (the message lists the names
            that exist), or a name means several layers.

    Example:
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="body"),
        ...                         keras.layers.Dense(1, name="head")], name="net")
        >>> resolve_multipliers(net, {"body": 0.1})["net/body/kernel"]
        0.1

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.2.
    """
    _check_model("resolve_multipliers", model)
    _check_rules("`rules`", rules)
    for name, factor in [*rules.items(), ("default", default)]:
        check_number(f"The factor of {name!r}", factor, at_least=0)
    root = model.model if isinstance(model, Stages) else model
    meant, everything = _variables_of(rules, model, root)
    variables = [v for v in root.variables if id(v) in everything]
    factors = [next((f for rule, f in rules.items() if id(v) in meant[rule]), default) for v in variables]
    return _by_path(variables, factors)


def _by_path(variables: Sequence[keras.Variable], factors: Iterable[float]) -> Multipliers:
    """The factors of variables in the order of their model."""
    keys = _keras.numbered_paths(variables)
    return Multipliers(dict(zip(keys, map(float, factors), strict=True)), variables)


def layerwise_decay(
    model: keras.Model | Stages,
    decay: float | None = None,
    *,
    low: float | None = None,
    high: float = 1.0,
) -> Multipliers:
    """Factors that fall from stage to stage below the head, by `decay` or from `high` to `low`.

    With `decay`, stage `i` has `high * decay ** (last - i)`. With `low`, the first stage has `low` and the
    last one `high`, with equal quotients between, as in fastai's `slice(low, high)`: there they are rates,
    here factors of the optimizer's rate.

    Args:
        model: A built model, or its `Stages`.
        decay: Factor from one stage to the one below it, usually 0.65 to 0.95.
        low: Factor of the first stage, in place of `decay`.
        high: Factor of the last stage.

    Returns:
        Factors (dimensionless) for `with_lr_multipliers`. A model of a single stage has `high`.

    Raises:
        TypeError, ValueError: Both or neither of `decay` and `low` are given, one of the three is not a
            number above 0, or the model can't be divided.

    Example:
        >>> layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in ("a", "b", "c")]
        >>> net = keras.Sequential([keras.Input((4,)), *layers])
        >>> [round(factor, 3) for factor in layerwise_decay(net, low=0.01).values()]
        [0.01, 0.1, 1.0]

    References:
        Clark et al. (2020), ELECTRA, arXiv:2003.10555, appendix B; Bao et al. (2022), arXiv:2106.08254;
        Howard & Gugger (2020), fastai, arXiv:2002.04688, section 4.
    """
    if (decay is None) == (low is None):
        raise ValueError(
            f"layerwise_decay takes decay, or low; received decay={decay!r} and low={low!r}. Write "
            "layerwise_decay(model, 0.8), or layerwise_decay(model, low=0.01, high=1.0)."
        )
    for name, number in (("decay", decay), ("low", low), ("high", high)):
        if number is not None:
            check_number(name, number, above=0)
    stages = find_stages(model)
    last = len(stages) - 1
    if low is not None:
        decay = (low / high) ** (1 / max(last, 1))
    factors = {
        id(variable): high * (decay or 1.0) ** (last - index)
        for index, stage in enumerate(stages)
        for layer in stage.layers
        for variable in _keras.own_trainable_variables(layer)
    }
    variables = [variable for variable in stages.model.variables if id(variable) in factors]
    return _by_path(variables, [factors[id(variable)] for variable in variables])


def discriminative(model: keras.Model | Stages, factor: float = 2.6) -> Multipliers:
    """ULMFiT's discriminative rates: each stage trains at the rate above it divided by `factor`.

    Args:
        model: A built model, or its `Stages`.
        factor: Quotient of the rates of neighbouring stages, above 0; 2.6 in the paper.

    Returns:
        Factors for `with_lr_multipliers`; the last stage has 1.

    Raises:
        TypeError, ValueError: As in `layerwise_decay`.

    References:
        Howard & Ruder (2018), arXiv:1801.06146, section 3.2.
    """
    check_number("factor", factor, above=0)
    return layerwise_decay(model, 1 / factor)


def _check_model(function: str, model: object) -> None:
    if not isinstance(model, (keras.Model, Stages)):
        raise TypeError(f"{function} expects a keras.Model or its Stages, not {model!r}.")


def _check_rules(what: str, rules: object) -> None:
    if not isinstance(rules, Mapping):
        raise TypeError(
            f"{what} maps names of stages and layers to factors, such as {{'head': 1.0, '*': 0.1}}; received "
            f"{rules!r} ({type(rules).__name__})."
        )
    if wrong := [name for name in rules if not isinstance(name, str)]:
        raise TypeError(f"{what} has names or globs of layers and stages as keys; received {wrong!r}.")


def _variables_of(
    rules: Iterable[str], model: keras.Model | Stages, root: keras.Model
) -> tuple[dict[str, set[int]], set[int]]:
    """The variables that can train: those that each rule means, and those of the whole model."""
    try:
        stages: Stages | None = find_stages(model)
    except ValueError:  # a subclassed model without `at`: its layers still have names
        stages = None
        if not root.built:
            raise
    of_stage = {stage.name: _trainable(stage.layers) for stage in stages or ()}
    of_layer = {id(layer): _trainable(_keras.sublayers(layer)) for layer in _keras.sublayers(root)}
    paths = [(path, layer) for path, layer in layer_paths(root) if of_layer[id(layer)]]
    meant: dict[str, set[int]] = {}
    unmatched = []
    for rule in rules:
        found = {id(layer): layer for path, layer in paths if matches(rule, path)}
        if is_pattern(rule):
            named = [ids for name, ids in of_stage.items() if fnmatch.fnmatchcase(name, rule)]
            meant[rule] = set().union(*named, *(of_layer[key] for key in found))
        elif rule in of_stage:
            inside = {id(layer): of_layer[id(layer)] <= of_stage[rule] for _, layer in paths}
            check_stage_name(paths, rule, inside, _WHAT)
            meant[rule] = of_stage[rule]
        elif found:
            (layer,) = layers_at(paths, rule, _WHAT)
            meant[rule] = of_layer[id(layer)]
        if not meant.get(rule):
            unmatched.append(rule)
    if unmatched:
        known = dict.fromkeys([*of_stage, *(path for path, _ in paths)])
        raise ValueError(
            f"No stage or layer of {root.name!r} with weights is named {unmatched}. There are {list(known)}."
        )
    inner = [ids for key, ids in of_layer.items() if key != id(root)]
    return meant, set().union(*of_stage.values(), *inner)


def _trainable(layers: Iterable[keras.Layer]) -> set[int]:
    return {id(variable) for layer in layers for variable in _keras.own_trainable_variables(layer)}
