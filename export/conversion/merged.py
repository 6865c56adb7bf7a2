"""One .tflite file of two: subgraphs beside each other, and one after the other, on the same buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tflite_file import packed, unpacked

_RUNTIME = b"min_runtime_version"


def merged(first: bytes, other: bytes, *, rename: str, tensor: str, joined: dict[str, str]) -> bytes:
    """Add the signatures of a file to another's, and signatures that run the one after the other.

    A precision is one of a whole file, for the converter and for the quantizer. Subgraphs keep theirs, so
    that a file in int8 and one in float become one. Where a signature runs both, its subgraph refers to the
    tensors and operations of the first file, which are not written twice.

    Args:
        first: A file with one signature of one output.
        other: A file with any signatures, without loops.
        rename: The new name of the first file's signature.
        tensor: The new name of its output, which signatures of the other take under that name.
        joined: By the name of a signature of the other file that is dropped, the one that runs the first
            file, and then it.

    Returns:
        A file with the signatures of both.
    """
    model, more = unpacked(first), unpacked(other)
    (start,) = model.signatureDefs
    start.signatureKey = rename
    (output,) = start.outputs
    output.name = tensor
    codes, buffers = _codes(model, more), _buffers(model, more)
    prefix = model.subgraphs[start.subgraphIndex]
    for signature in more.signatureDefs:
        graph = more.subgraphs[signature.subgraphIndex]
        for t in graph.tensors:
            t.buffer = buffers[t.buffer]
        for o in graph.operators:
            o.opcodeIndex = codes[o.opcodeIndex]
        key = _text(signature.signatureKey)
        if key in joined:
            graph = _after(prefix, output.tensorIndex, graph, signature, tensor)
            signature.inputs = [*start.inputs, *signature.inputs]
            signature.signatureKey = key = joined[key]
        graph.name = key
        model.subgraphs.append(graph)
        signature.subgraphIndex = len(model.subgraphs) - 1
        model.signatureDefs.append(signature)
    _runtime(model, more)
    return packed(model, len(first) + len(other))


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _codes(model: Any, more: Any) -> list[int]:
    """The places of the other file's operation codes among the first one's, where they are added."""

    def key(code: Any) -> tuple[Any, ...]:
        return max(code.builtinCode, code.deprecatedBuiltinCode), code.customCode, code.version

    known = [key(code) for code in model.operatorCodes]
    for code in more.operatorCodes:
        if key(code) not in known:
            known.append(key(code))
            model.operatorCodes.append(code)
    return [known.index(key(code)) for code in more.operatorCodes]


def _buffers(model: Any, more: Any) -> list[int]:
    """The places of the other file's buffers among the first one's: each content once, and 0 for none."""
    known: dict[bytes, int] = {}
    places = []
    for buffer in more.buffers:
        content = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
        if content and content not in known:
            known[content] = len(model.buffers)
            model.buffers.append(buffer)
        places.append(known[content] if content else 0)
    return places


class _Once:
    """A table of the file that is written once, however many others refer to it."""

    def __init__(self, table: Any) -> None:
        self._table, self._place = table, None

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - as the schema's classes have it
        if self._place is None:
            self._place = self._table.Pack(builder)
        return self._place


def _after(prefix: Any, output: int, graph: Any, signature: Any, tensor: str) -> Any:
    """A graph that runs `prefix`, and then `graph` on its output; it refers to the tables of `prefix`.

    Scales of an int8 file are in its tensors, and would make a copy of them a seventh of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    (given,) = [entry for entry in signature.inputs if _text(entry.name) == tensor]
    signature.inputs = [entry for entry in signature.inputs if entry is not given]
    whole = schema.SubGraphT()
    prefix.tensors, prefix.operators = map(_once, (prefix.tensors, prefix.operators))
    whole.tensors = list(prefix.tensors)
    places: dict[int, int] = {-1: -1, given.tensorIndex: output}
    for i, t in enumerate(graph.tensors):
        if i != given.tensorIndex:
            places[i] = len(whole.tensors)
            whole.tensors.append(t)
    for o in graph.operators:
        for side in ("inputs", "outputs", "intermediates"):
            if getattr(o, side) is not None:
                setattr(o, side, [places[int(i)] for i in getattr(o, side)])
    whole.operators = [*prefix.operators, *graph.operators]
    whole.inputs = [*prefix.inputs, *(places[int(i)] for i in graph.inputs if i != given.tensorIndex)]
    whole.outputs = [places[int(i)] for i in graph.outputs]
    for entry in (*signature.inputs, *signature.outputs):
        entry.tensorIndex = places[entry.tensorIndex]
    return whole


def _once(tables: list[Any]) -> list[Any]:
    return [table if isinstance(table, _Once) else _Once(table) for table in tables]


def _runtime(model: Any, more: Any) -> None:
    """The newer of the two oldest runtimes that can run the files."""

    def found(file: Any) -> tuple[Any, tuple[int, ...]]:
        for entry in file.metadata or ():
            if entry.name in (_RUNTIME, _RUNTIME.decode()):
                buffer = file.buffers[entry.buffer]
                text = np.asarray(buffer.data, np.uint8).tobytes().rstrip(b"\0").decode()
                return buffer, tuple(int(n) for n in text.split(".") if n.isdigit())
        return None, ()

    (mine, old), (theirs, new) = found(model), found(more)
    if mine is not None and theirs is not None and new > old:
        mine.data = theirs.data
