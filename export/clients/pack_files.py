"""The files of a golden pack, read so that a damaged or a hostile one is an error like any other.

A pack holds a copy of this file beside `verify.py`, which it is a part of: it needs Python 3.9 and numpy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, FORMAT_VERSION = "kerasft golden pack", 2
MOST_MODEL = 2**31  # bytes; no .tflite file is larger

_MOST_GOLDEN, _MOST_OTHER = 2**28, 2**24  # bytes of a member
_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
_DTYPES += ("float16", "float32", "float64")


class PackError(ValueError):
    """A pack is damaged or was changed, or this machine can't run it."""


class Members:
    """The files of a pack, read by name, packed or unpacked, each up to a size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []  # all that an archive has
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        if not stat.S_ISREG(path.stat().st_mode):
            raise PackError(f"{path} is neither a file nor a folder.")
        mark = _check_size(path)
        try:
            self._archive = zipfile.ZipFile(path)
            self.names = [i.filename for i in self._archive.infolist() if not i.is_dir()]
        except Exception as error:  # zipfile raises one of many
            found = "it is damaged or cut off: copy it again" if mark == b"PK" else "it is no zip file"
            raise PackError(f"{path} is no golden pack: {found}.") from error

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()

    def read(self, name: str, most: int = _MOST_OTHER) -> bytes:
        """The content of a member, which takes up to `most` bytes."""
        return b"".join(self.parts(name, most))

    def parts(self, name: str, most: int) -> Iterator[bytes]:
        """The content of a member in parts of a megabyte."""
        if (size := self.size(name)) > most:
            raise PackError(f"{name} in {self.path} takes {size} bytes; at most {most} are read.")
        try:
            with self._archive.open(name) if self._archive else (self.path / name).open("rb") as file:
                while part := file.read(2**20):
                    yield part
        except Exception as error:
            raise self._broken(name, error) from error

    def size(self, name: str) -> int:
        """How many bytes a member takes: an archive gives no more than it says."""
        if {"", ".", ".."} & {*name.split("/")} or {"\\", ":", "\0"} & {*name}:
            raise PackError(f"The name {name!r} leads out of the pack; nothing was run.")
        try:
            if self._archive is None:
                return self._size(name)
            info = self._archive.getinfo(name)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise OSError("it is compressed in another way than a pack's files are")
            return info.file_size
        except Exception as error:
            raise self._broken(name, error) from error

    def _broken(self, name: str, error: Exception) -> PackError:
        return PackError(f"{name} is missing or damaged in {self.path}: {error}")

    def _size(self, name: str) -> int:
        """The size of a file in the folder."""
        file = (self.path / name).resolve(strict=True)
        if not file.is_relative_to(self.path.resolve()) or not file.is_file():
            raise OSError("it is no file of this folder")
        return file.stat().st_size

    def array(self, about: dict[str, Any]) -> np.ndarray:
        """An array of bare values."""
        file, shape = about["file"], about["shape"]
        if about["dtype"] not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise PackError(f"{file} is no array of {about['dtype']!r} and {shape}, but of one of {_DTYPES}.")
        dtype = np.dtype(about["dtype"])
        content = self.read(file, _MOST_GOLDEN)
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise PackError(f"{file} has {len(content)} bytes, which is no {dtype} {shape}.")
        return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _check_size(path: Path) -> bytes:
    """Raise PackError if a file, or the list of what it holds, is larger than a pack's; return its mark."""
    with path.open("rb") as file:
        mark, size = file.read(2), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 22))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    listed = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if size > MOST_MODEL + 2 * _MOST_GOLDEN or listed > _MOST_OTHER:
        raise PackError(f"{path} is no golden pack: it takes {size} bytes, and its list of files {listed}.")
    return mark


def read_manifest(members: Members) -> dict[str, Any]:
    """The manifest in today's form, after a check of the format and of every file's hash."""
    try:
        manifest = json.loads(members.read("manifest.json").decode())
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        if isinstance(error, PackError):
            raise
        raise PackError(f"manifest.json in {members.path} is no JSON: {error}") from error
    if manifest["format"] != FORMAT or manifest["format_version"] > FORMAT_VERSION:
        raise PackError(
            f"The pack is a {manifest['format']!r} of version {manifest['format_version']}; this reads a "
            f"{FORMAT!r} up to version {FORMAT_VERSION}. Use the pack's own verify.py, or update kerasft."
        )
    manifest = _as_of_today(manifest)
    files, model, state = manifest["files"], manifest["model"], manifest["state"]
    arrays = [a for case in manifest["cases"] for side in ("inputs", "outputs") for a in case[side].values()]
    golden = [a["file"] for a in (*arrays, *(state["arrays"] if state else ()))]
    if state:
        golden.append(state["npz"])
    counts = Counter(members.names)
    for name in (model, *golden, *members.names):
        if (name not in files and name != "manifest.json") or counts[name] > 1:
            raise PackError(f"{name} has no hash in the manifest of {members.path}, or is there twice.")
    if (total := sum(map(members.size, golden))) > _MOST_GOLDEN:
        raise PackError(f"The golden values in {members.path} take {total} bytes, more than {_MOST_GOLDEN}.")
    most = {model: MOST_MODEL, **dict.fromkeys(golden, _MOST_GOLDEN)}
    for name, about in files.items():
        found = hashlib.sha256()
        for part in members.parts(name, most.get(name, _MOST_OTHER)):
            found.update(part)
        if found.hexdigest() != about["sha256"]:
            raise PackError(f"{name} in {members.path} was changed: its sha256 is not the manifest's.")
    return manifest


def _as_of_today(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest of version 1, whose cases are all of one signature, in the form of version 2."""
    if manifest["format_version"] >= 2:
        return dict(manifest)
    signature = manifest["signature"]
    tensors = {side: manifest[side] for side in ("inputs", "outputs")}
    cases = [{**case, "signature": signature, "steps": 1} for case in manifest["cases"]]
    return {**manifest, "signatures": {signature: tensors}, "state": None, "cases": cases}


def check_state(members: Members, state: dict[str, Any]) -> None:
    """Hold the .npz with the first values of weights and slots against the manifest and the bare values.

    Raises:
        PackError: An array is missing or another one; the message names it.
    """
    npz, wanted = state["npz"], {array["name"]: array for array in state["arrays"]}
    found = _read_npz(members, npz)
    digest = str(found.pop("digest", ""))
    if digest != state["digest"]:
        raise PackError(f"{npz} in {members.path} has the digest {digest!r}, not {state['digest']!r}.")
    if odd := sorted(set(found) ^ set(wanted)):
        raise PackError(f"{npz} in {members.path} and the manifest do not both have the arrays {odd}.")
    for name, about in wanted.items():
        value, got = members.array(about), found[name]
        if (got.shape, got.dtype) != (value.shape, value.dtype):
            raise PackError(
                f"{name!r} in {npz} of {members.path} is {got.dtype} {list(got.shape)}; the manifest says "
                f"{value.dtype} {about['shape']}."
            )
        if got.tobytes() != value.tobytes():
            raise PackError(
                f"{name!r} in {npz} of {members.path} has other first values than {about['file']}."
            )


def _read_npz(members: Members, name: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, which is itself an archive."""
    content = io.BytesIO(members.read(name, _MOST_GOLDEN))
    try:
        with zipfile.ZipFile(content) as archive:
            total = sum(info.file_size for info in archive.infolist())
        if total > _MOST_GOLDEN:
            raise OSError(f"its arrays take {total} bytes, more than {_MOST_GOLDEN}")
        with np.load(content, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception as error:  # zipfile and numpy raise one of many
        raise PackError(f"{name} in {members.path} is no .npz file of arrays: {error}") from error


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Members]:
    """The files of a pack; what goes wrong with them is a `PackError`, but for what LiteRT raises."""
    try:
        with contextlib.closing(Members(Path(path))) as members:
            yield members
    except PackError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, MemoryError) as error:
        raise PackError(f"manifest.json lacks something, or has it in another form: {error!r}") from error
