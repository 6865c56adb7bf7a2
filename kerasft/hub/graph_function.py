"""GraphFunction: a pure function of tensors as a serialized graph, storable in a `.keras` file."""

from __future__ import annotations

import base64
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf

from kerasft.hub.allowed_ops import ALLOWED_OPS, PURE_OPS
from kerasft.hub.pointwise_gradients import with_fast_gradients

ConcreteFunction: TypeAlias = tf.types.experimental.ConcreteFunction


@dataclass(frozen=True)
class GraphFunction:
    """Tensors in, tensors out: a GraphDef that holds no variable, and the names of its ends."""

    graph: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @functools.cached_property
    def _ops(self) -> frozenset[str]:
        graph = tf.compat.v1.GraphDef.FromString(self.graph)
        nodes = [n for f in graph.library.function for n in f.node_def] + list(graph.node)
        return frozenset(n.op for n in nodes)

    def check_ops(self) -> None:
        """Raise ValueError if the graph holds an operation outside the allow-list."""
        foreign = sorted(self._ops - ALLOWED_OPS)
        if foreign:
            raise ValueError(
                f"The graph holds operations that reach outside the model or are not known to be safe: "
                f"{foreign}. They could read files or run code. If you trust where the model comes from, "
                "load a SavedModel with load_backbone(..., trust=True), and a .keras file with "
                "keras.models.load_model(..., safe_mode=False)."
            )

    def concrete(self, specs: Sequence[tf.TensorSpec], for_gradients: bool = False) -> ConcreteFunction:
        """A concrete function that runs the graph on tensors of the given specs, in order of `inputs`.

        A function that is asked for again and again, as in a search, is made once and shared. A graph that
        draws random numbers is not shared: its kernels count the numbers that were drawn.

        Args:
            specs: One for each tensor.
            for_gradients: Whether gradients will be asked for. Such a function must not be saved.
        """
        make = _shared if self._ops <= PURE_OPS else _concrete
        return make(self, tuple(specs), for_gradients)

    def to_config(self) -> dict[str, Any]:
        """Plain JSON data."""
        packed = base64.b64encode(zlib.compress(self.graph, 9)).decode()
        return {"graph": packed, "inputs": list(self.inputs), "outputs": list(self.outputs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GraphFunction:
        """The inverse of `to_config`."""
        graph = zlib.decompress(base64.b64decode(config["graph"]))
        return cls(graph, tuple(config["inputs"]), tuple(config["outputs"]))


def _concrete(
    function: GraphFunction, specs: tuple[tf.TensorSpec, ...], for_gradients: bool
) -> ConcreteFunction:
    graph = tf.compat.v1.GraphDef.FromString(function.graph)
    if for_gradients:
        graph = with_fast_gradients(graph)

    def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
        used = {n if ":" in n else f"{n}:0" for node in graph.node for n in node.input}
        named = zip(function.inputs, tensors, strict=True)
        feeds = {name: tensor for name, tensor in named if name in used}
        return tf.graph_util.import_graph_def(
            graph, input_map=feeds, return_elements=list(function.outputs), name=""
        )

    # Unlike tf.function, this makes the functions of the graph's loops known outside it.
    return tf.compat.v1.wrap_function(run, list(specs))


# A function of a stage takes about 0.5 MB: up to three or four backbones of the usual size.
_shared = functools.lru_cache(maxsize=256)(_concrete)
