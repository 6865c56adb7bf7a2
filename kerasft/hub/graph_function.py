"""GraphFunction: a pure function of tensors as a serialized graph, storable in a `.keras` file."""

from __future__ import annotations

import base64
import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf
from google.protobuf.message import DecodeError

from kerasft.hub.allowed_ops import ALLOWED_OPS, PURE_OPS, TEXT_OPS
from kerasft.hub.graph_check import check_structure, damaged
from kerasft.hub.graph_def import GraphDef, name_by_content
from kerasft.hub.pointwise_gradients import with_fast_gradients

_RATIO = 64  # how many times its packed size a graph may unpack to; real ones come to 20 at most

ConcreteFunction: TypeAlias = tf.types.experimental.ConcreteFunction


@dataclass(frozen=True)
class GraphFunction:
    """Tensors in, tensors out: a GraphDef that holds no variable, and the names of its ends."""

    graph: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @functools.cached_property
    def _ops(self) -> frozenset[str]:
        graph = self._definition()
        nodes = [n for f in graph.library.function for n in f.node_def] + list(graph.node)
        return frozenset(n.op for n in nodes)

    @property
    def has_text(self) -> bool:
        """Whether it works on strings, which run on the CPU alone and can't be compiled."""
        return not self._ops.isdisjoint(TEXT_OPS)

    def _definition(self) -> GraphDef:
        try:
            return GraphDef.FromString(self.graph)
        except DecodeError as error:
            raise damaged(f"it can't be read ({error})") from None

    def check_ops(self) -> None:
        """Raise ValueError if the graph holds an operation outside the allow-list, or is none at all.

        Whatever is not in the graph itself counts as outside: functions that the process happens to know
        too. So do functions that call themselves, and constants that a file of that size can't hold.
        """
        foreign = sorted(self._ops - ALLOWED_OPS)
        if foreign:
            raise ValueError(
                f"The graph holds operations that reach outside the model or are not known to be safe: "
                f"{foreign}. They could read files or run code. If you trust where the model comes from, "
                "load a SavedModel with load_backbone(..., trust=True), and a .keras file with "
                "keras.models.load_model(..., safe_mode=False)."
            )
        graph = self._definition()
        check_structure(graph, len(self.graph))
        if graph.library.gradient or graph.library.registered_gradients:
            raise damaged("it brings gradients of its own")

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
        return {"graph": self._text, "inputs": list(self.inputs), "outputs": list(self.outputs)}

    @functools.cached_property
    def _text(self) -> str:
        packed = zlib.compress(self.graph, 9)
        if len(self.graph) > _RATIO * len(packed):  # nearly all the same, such as a mask of zeros
            packed = zlib.compress(self.graph, 0)
        return base64.b64encode(packed).decode()

    @classmethod
    def from_config(cls, config: dict[str, Any], safe: bool = False) -> GraphFunction:
        """The inverse of `to_config`.

        Args:
            config: What it returned.
            safe: Whether its source must not be trusted: it is held against the allow-list, and may not
                unpack to many times its size.

        Raises:
            ValueError: It is damaged, or, if `safe`, more than a graph of pure arithmetic.
        """
        try:
            packed = base64.b64decode(config["graph"], validate=True)
            unpacking = zlib.decompressobj()
            graph = unpacking.decompress(packed, _RATIO * len(packed) + 1 if safe else 0)
            ends = [tuple(str(name) for name in config[side]) for side in ("inputs", "outputs")]
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise damaged(f"it can't be unpacked ({error!r})") from None
        if safe and len(graph) > _RATIO * len(packed):
            raise ValueError(
                f"The graph of a stage takes {len(packed)} bytes in the file and unpacks to more than "
                f"{_RATIO} times as many, with which a small file can fill the memory. If you trust where "
                "the model comes from, load it with keras.models.load_model(..., safe_mode=False)."
            )
        if not unpacking.eof:
            raise damaged("it is cut short")
        function = cls(graph, *ends)
        if safe:
            function.check_ops()
        return function


def _concrete(
    function: GraphFunction, specs: tuple[tf.TensorSpec, ...], for_gradients: bool
) -> ConcreteFunction:
    graph = _without_references(function._definition())
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
    try:
        return tf.compat.v1.wrap_function(run, list(specs))
    except (tf.errors.OpError, KeyError, TypeError) as error:
        raise damaged(f"TensorFlow can't build it ({error})") from error


def _without_references(graph: GraphDef) -> GraphDef:
    """The graph without what names something in the process: gradients by their Python functions, settings.

    Its functions are named by their contents, so that no other of the same name is taken for one.
    """
    name_by_content(graph)
    for nodes in (graph.node, *(f.node_def for f in graph.library.function)):
        for node in nodes:
            for key in ("_gradient_op_type", "config_proto", "config", "executor_type"):
                node.attr.pop(key, None)
    return graph


# A function of a stage takes about 0.5 MB: up to three or four backbones of the usual size.
_shared = functools.lru_cache(maxsize=256)(_concrete)
