"""Weights and slots as files: NumPy's .npz, and safetensors, which JavaScript writes in ten lines.

A file is eight bytes with the length of a header, little-endian; the header, a JSON object that gives dtype,
shape and place of each array, and texts under `__metadata__`; and the arrays, in float32, little-endian.
Each holds `digest`, a hash of all that the weights rely on, so that another model's are not taken for these.

References:
    https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..files import parse_json, taking_apart

DIGEST = "digest"
_SUFFIXES = (".npz", ".safetensors")


def digest_of(rest: Iterable[Any], *, new_classes: bool) -> str:
    """A hash of the weights that stay as they are, in whatever order and under whatever names.

    Args:
        rest: All of a model's weights but those that train.
        new_classes: Whether the head was begun for other classes than the model's.
    """
    hashes = []
    for v in rest:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(v), "<f4")
        hashes.append(hashlib.sha256(f"{value.shape}".encode() + value.tobytes()).digest())
    whole = hashlib.sha256(b"".join(sorted(hashes)) + (b"new classes" if new_classes else b""))
    return whole.hexdigest()


def write_npz(path: Path, state: Mapping[str, np.ndarray], digest: str) -> None:
    """Write arrays and the digest as `numpy.savez` does."""
    with path.open("wb") as file:  # savez adds a suffix to a name
        np.savez(file, **{DIGEST: np.array(digest), **state})  # type: ignore[arg-type]


def read_state(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Arrays in float32 by name, and the digest, which is "" where the file has none.

    Raises:
        FileNotFoundError: There is no file.
        ValueError: It is no such file, or damaged.
    """
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"Weights are a file ending in {' or '.join(_SUFFIXES)}; received {path}.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    found, digest = (_npz if path.suffix == ".npz" else _safetensors)(path)
    wrong = [name for name, value in found.items() if value.dtype.kind != "f"]
    if wrong:
        raise ValueError(f"Weights are floats; {path.name} has {wrong} in {found[wrong[0]].dtype}.")
    return {name: value.astype("float32") for name, value in found.items()}, digest


def _npz(path: Path) -> tuple[dict[str, np.ndarray], str]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{path.name} is no .npz file of arrays, or damaged: {error}") from error
    return found, str(found.pop(DIGEST, ""))


def _safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise ValueError(f"{path.name} is no safetensors file, or is cut short.")
    header, body = parse_json(content[8 : 8 + length], path.name), memoryview(content)[8 + length :]
    with taking_apart(path.name):
        digest = str(header.pop("__metadata__", {}).get(DIGEST, ""))
        found = {}
        for name, entry in header.items():
            (begin, end), shape = entry["data_offsets"], tuple(int(n) for n in entry["shape"])
            if (
                entry["dtype"] != "F32"
                or not 0 <= begin <= end <= len(body)
                or end - begin != 4 * prod(shape)
            ):
                raise ValueError(f"{name!r} is {entry}, and {len(body)} bytes of float32 (F32) are there")
            found[name] = np.frombuffer(body[begin:end], "<f4").reshape(shape)
    return found, digest
