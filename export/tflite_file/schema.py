"""The flatbuffer of a .tflite file, read and written by the schema in LiteRT's wheel."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raise one ValueError for whatever the schema's classes, and who uses them, make of a damaged file."""
    try:
        yield
    except (
        *(struct.error, LookupError, AttributeError, TypeError, ValueError, OverflowError, MemoryError),
        *(RecursionError, AssertionError),
    ) as error:
        raise ValueError(f"This .tflite file is cut short or damaged: {error}") from error


def model_of(content: bytes) -> Any:
    """The root table of a .tflite file, to read from.

    Raises:
        ValueError: The bytes are no .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ValueError("This is no .tflite file: it lacks the mark TFL3.")
    with reading():
        return schema.Model.GetRootAs(content, 0)


def unpacked(content: bytes) -> Any:
    """The tables of a .tflite file as objects, to change.

    Raises:
        ValueError: The bytes are no .tflite file, or a damaged one.
    """
    from ai_edge_litert import schema_py_generated as schema

    model_of(content)
    with reading():
        return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any, size: int = 1 << 20) -> bytes:
    """The inverse of `unpacked`; `size` is about that of the file."""
    import flatbuffers

    builder = flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def shape_of(tensor: Any) -> tuple[int, ...]:
    """A tensor's shape; -1 where an axis is open."""
    shape = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else None
    if shape is None:
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    return tuple(int(n) for n in shape)


def dtype_of(tensor: Any) -> str:
    """A tensor's dtype, as numpy writes it."""
    return enum_names("TensorType")[tensor.Type()].lower()


def builtin_of(code: Any) -> int:
    """The number of a built-in operation; files of old converters fill only the deprecated field."""
    return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())


@cache
def enum_names(kind: str) -> dict[int, str]:
    """The names of an enumeration's values."""
    from ai_edge_litert import schema_py_generated as schema

    return {v: k for k, v in vars(getattr(schema, kind)).items() if isinstance(v, int)}
