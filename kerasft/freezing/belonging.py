"""Which layers, those without weights included, belong to the frozen part of a model."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator, Sequence

import keras

from kerasft import _keras


def frozen_part(model: keras.Model, frozen: Collection[keras.Layer]) -> list[keras.Layer]:
    """List the layers that compute what frozen layers give, parents before their children.

    A layer without weights, such as Dropout, belongs to it

    - if it lies in a layer or a nested model all of whose weights are frozen: it belongs to what holds it;
    - otherwise if nothing that trains comes before it, and a frozen layer comes after it, or a skip ends that
      leads around it (stochastic depth in a residual unit). What else stands between the last frozen layer
      and the first that trains regularizes the latter, and does not belong.

    Random layers that come before all weights that could train transform the data: they are augmentation, and
    do not belong, unless they draw a number for each element, as dropout and noise do. A layer that is called
    at several places belongs if each place does. Where Keras does not know the order of calls (a subclassed
    model), the first rule counts alone.

    Args:
        model: A built model.
        frozen: Its frozen layers, of those that own weights.

    Returns:
        Layers whose calls are to be those of a frozen part; models whose calls Keras knows are none of them,
        but what they call is.
    """
    return _Parts(model, {id(layer) for layer in frozen}).found()


class _Parts:
    def __init__(self, model: keras.Model, frozen: Collection[int]) -> None:
        self._layers = list(_keras.sublayers(model))
        self._parents: dict[int, list[keras.Layer]] = {}
        for layer in self._layers:
            for child in _keras.children(layer):
                self._parents.setdefault(id(child), []).append(layer)
        self._frozen: dict[int, bool] = {}  # of those with weights in them, whether all of these are frozen
        for layer in reversed(self._layers):
            inside = [self._frozen[id(x)] for x in _keras.children(layer) if id(x) in self._frozen]
            if _keras.own_variables(layer):
                inside.append(id(layer) in frozen)
            if inside:
                self._frozen[id(layer)] = all(inside)
        self._graphs = list(_outermost_graphs(model))

    def found(self) -> list[keras.Layer]:
        between, ahead, containers = self._by_order()
        return [
            layer
            for layer in self._layers
            if id(layer) not in ahead | containers and (self._belongs(layer) or id(layer) in between)
        ]

    def _belongs(self, layer: keras.Layer) -> bool:
        """Whether all weights in a layer are frozen; without any, whether that holds for what holds it."""
        if id(layer) in self._frozen:
            return self._frozen[id(layer)]
        parents = self._parents.get(id(layer), [])
        return bool(parents) and all(self._belongs(parent) for parent in parents)

    def _by_order(self) -> tuple[set[int], set[int], set[int]]:
        """The layers without weights between frozen ones, those before all weights, and the containers."""
        places: dict[int, list[tuple[keras.Layer, bool, bool]]] = {}
        called: set[int] = set()
        for graph in self._graphs:
            for layer, is_between, is_ahead in self._places(graph):
                places.setdefault(id(layer), []).append((layer, is_between, is_ahead))
                called |= {id(part) for part in _keras.sublayers(layer)}
        inside = {id(part) for graph in self._graphs for part in _keras.sublayers(graph.model)}
        between: set[int] = set()
        ahead: set[int] = set()
        for calls in places.values():
            parts = {id(part) for part in _keras.sublayers(calls[0][0])}
            between |= parts if all(is_between for _, is_between, _ in calls) else set()
            ahead |= parts if any(is_ahead for _, _, is_ahead in calls) else set()
        return between, ahead, inside - called

    def _places(self, graph: _keras.Program) -> Iterator[tuple[keras.Layer, bool, bool]]:
        """For each call of a layer without weights: whether it is between frozen ones, or before all."""
        producer = {n: i for i, operation in enumerate(graph.operations) for n in operation.writes}
        above: list[list[int]] = []
        clean: list[bool] = []  # whether nothing that trains comes before, or is called
        ahead: list[bool] = []  # whether no weight that could train comes before
        for operation in graph.operations:
            parents = [producer[n] for n in operation.reads if n in producer]
            above.append(parents)
            clean.append(all(clean[p] for p in parents) and self._frozen.get(id(operation.layer), True))
            ahead.append(all(ahead[p] and not _could_train(graph.operations[p].layer) for p in parents))
        followed = [False] * len(above)  # whether a frozen layer comes after, before anything that trains
        for i in reversed(range(len(above))):
            if clean[i] and (followed[i] or id(graph.operations[i].layer) in self._frozen):
                for p in above[i]:
                    followed[p] = True
        for i in self._inside_skips(graph, above):
            followed[i] = True
        for i, operation in enumerate(graph.operations):
            layer = operation.layer
            if isinstance(layer, keras.Layer) and id(layer) not in self._frozen:
                is_ahead = ahead[i] and not _is_noise(graph, operation)
                yield layer, clean[i] and followed[i], is_ahead
            elif isinstance(layer, keras.Layer):
                yield layer, False, False

    def _inside_skips(self, graph: _keras.Program, above: Sequence[Sequence[int]]) -> set[int]:
        """Calls without weights at the end of what a skip leads around."""
        needed: list[int] = []  # as bits
        for parents in above:
            needed.append(functools.reduce(operator.or_, (needed[p] | 1 << p for p in parents), 0))
        found: set[int] = set()
        for parents in above:
            for begin in parents:  # where the skip begins
                ends = [p for p in parents if needed[p] >> begin & 1]
                while ends:
                    i = ends.pop()
                    if needed[i] >> begin & 1 and id(graph.operations[i].layer) not in self._frozen:
                        found.add(i)
                        ends += above[i]
        return found


def _outermost_graphs(layer: keras.Layer) -> Iterator[_keras.Program]:
    """The models in a layer, itself included, whose calls Keras knows, but those in other such models."""
    graph = _keras.program(layer) if isinstance(layer, keras.Model) and layer.built else None
    if graph is None:
        for child in _keras.children(layer):
            yield from _outermost_graphs(child)
        return
    yield graph
    seen: set[int] = set()
    for operation in graph.operations:
        if isinstance(operation.layer, keras.Layer) and id(operation.layer) not in seen:
            seen.add(id(operation.layer))
            for child in _keras.children(operation.layer):
                yield from _outermost_graphs(child)


def _could_train(layer: object) -> bool:
    return isinstance(layer, keras.Layer) and any(
        _keras.own_trainable_variables(part) for part in _keras.sublayers(layer)
    )


def _is_noise(graph: _keras.Program, operation: _keras.Operation) -> bool:
    """Whether all random numbers that a call draws stand one for each element of what it is given."""
    given = [tuple(graph.tensors[n].shape) for n in operation.reads]
    drawn = _keras.traced_call(graph, operation).drawn
    return bool(drawn) and all(shape in given for shape in drawn)
