"""Records that stay on disk for later runs: each is whole, or it is not used."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasft.cache.records.replay_order import Order
from kerasft.cache.records.sample_index import Index
from kerasft.cache.records.storage import partial_prefix
from kerasft.cache.records.table import StorageError, Table


@dataclass(frozen=True, eq=False)
class Kept:
    """A record, and how far the run had come that made it.

    Attributes:
        index: The samples.
        values: The values at a cut.
        beside: What a step needs beside them, row by row.
        positions: The row of `values` of each sample.
        sides: Numbers of the model's inputs among the columns of `beside`.
        log: The rows of each batch that the source has given.
        passes: In how many epochs.
        order: How later epochs go on; None if that had not been settled.
    """

    index: Index
    values: Table
    beside: Table
    positions: np.ndarray
    sides: tuple[int, ...]
    log: tuple[np.ndarray, ...]
    passes: int
    order: Order | None


def keep(folder: Path, record: Kept) -> Path:
    """Write a record where a later run finds it: whole, or not at all.

    Args:
        folder: The folder for records of this prefix.
        record: The record; files of its tables are linked, not copied, if possible.

    Returns:
        The record's folder.
    """
    target = folder / record.index.digest()
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=partial_prefix(), dir=folder))
    rows = Table()
    rows.append([record.index.fingerprints(), record.positions])
    try:
        described = {}
        for name, table in {"rows": rows, "values": record.values, "beside": record.beside}.items():
            copy = partial / name
            copy.mkdir()
            for i, column in enumerate(table.columns):
                if column.path is None:
                    array = np.ascontiguousarray(column.take(np.arange(len(table))))
                    (copy / f"{i}.bin").write_bytes(array.view(np.uint8).data)
                else:
                    _link(column.path, copy / f"{i}.bin")
            described[name] = table.describe()
        content = json.dumps(
            {
                "rows": len(record.index),
                "tables": described,
                "sides": record.sides,
                "log": [batch.tolist() for batch in record.log],
                "passes": record.passes,
                "order": None if record.order is None else record.order.to_dict(),
            }
        )
        (partial / "manifest.txt").write_text(f"{digest_of_text(content)}\n{content}")
        _replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _replace(partial: Path, target: Path) -> None:
    """Give a folder its name; the one that had it goes."""
    old = partial.with_name(f"{partial.name}-old")
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:  # another process was faster with the same record
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def kept(folder: Path) -> Iterator[tuple[Path, Kept]]:
    """The records in a folder that are whole, with their folders, newest first; others are passed over."""
    manifests = [p for p in folder.glob("*/manifest.txt") if not p.parent.name.startswith(".")]
    for manifest in sorted(manifests, key=lambda p: p.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, StorageError):
            digest, _, content = manifest.read_text().partition("\n")
            if digest != digest_of_text(content):
                continue
            said = json.loads(content)
            count = said["rows"]
            tables = {
                name: Table.open(manifest.parent / name, description, count)
                for name, description in said["tables"].items()
            }
            fingerprints, positions = tables["rows"].take(np.arange(count))
            index = Index()
            index.find(fingerprints)
            yield (
                manifest.parent,
                Kept(
                    index,
                    tables["values"],
                    tables["beside"],
                    positions,
                    tuple(said["sides"]),
                    tuple(np.array(batch, np.int64) for batch in said["log"]),
                    said["passes"],
                    None if said["order"] is None else Order.from_dict(said["order"]),
                ),
            )


def digest_of_text(text: str) -> str:
    """A checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
