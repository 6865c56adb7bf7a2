"""Records that stay on disk for later runs: each is whole, or it is not used.

The names in a manifest ("sides", "beside") are those of earlier versions, whose files are read too.
"""

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
from typing import Any

import numpy as np

from kerasft.cache.records.replay_order import ReplayOrder
from kerasft.cache.records.sample_index import SampleIndex
from kerasft.cache.records.storage import partial_prefix
from kerasft.cache.records.table import StorageError, Table
from kerasft.files import newest_first
from kerasft.typing import Rows


@dataclass(frozen=True, eq=False)
class SavedRecord:
    """A record, and the order in which the run went on that made it.

    Attributes:
        index: The samples.
        values: The values at a cut.
        other_columns: What a step needs besides them, row by row: inputs, targets, weights of samples.
        positions: The row of `values` of each sample.
        extra_inputs: Numbers of the model's inputs among the columns of `other_columns`.
        order: How later epochs went on; None if that had not been settled.
        masked: Which of the values have a mask, which is the column after theirs.
    """

    index: SampleIndex
    values: Table
    other_columns: Table
    positions: Rows
    extra_inputs: tuple[int, ...]
    order: ReplayOrder | None
    masked: tuple[bool, ...]


def write_record(folder: Path, record: SavedRecord) -> Path:
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
        for name, table in {"rows": rows, "values": record.values, "beside": record.other_columns}.items():
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
                "sides": record.extra_inputs,
                "order": None if record.order is None else record.order.to_dict(),
                "masked": record.masked,
            }
        )
        (partial / "manifest.txt").write_text(f"{digest_of_text(content)}\n{content}")
        _take_name(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _take_name(partial: Path, target: Path) -> None:
    """Give a folder its name; the one that had it goes.

    `kerasft.files.replacing` does not fit: it raises if another process takes the name between its two
    renames, where the record of that process is as good as this one.
    """
    old = partial.with_name(f"{partial.name}-old")
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:  # another process was faster with the same record
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def read_records(folder: Path) -> Iterator[tuple[Path, SavedRecord]]:
    """Read the records in a folder that are whole, with their folders, newest first; skip others."""
    files = [p for p in newest_first(folder, "*/manifest.txt") if not p.parent.name.startswith(".")]
    for file in files:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, StorageError):
            digest, _, content = file.read_text().partition("\n")
            if digest != digest_of_text(content):
                continue
            manifest = json.loads(content)
            count = manifest["rows"]
            tables = {
                name: Table.open(file.parent / name, description, count)
                for name, description in manifest["tables"].items()
            }
            fingerprints, positions = tables["rows"].take(np.arange(count))
            index = SampleIndex()
            index.find(fingerprints)
            yield (
                file.parent,
                SavedRecord(
                    index,
                    tables["values"],
                    tables["beside"],
                    positions,
                    tuple(manifest["sides"]),
                    None if manifest["order"] is None else ReplayOrder.from_dict(manifest["order"]),
                    _masked(manifest, tables["values"]),
                ),
            )


def _masked(manifest: dict[str, Any], values: Table) -> tuple[bool, ...]:
    """Which values have a mask; earlier versions recorded a single one, and did not say it."""
    masked = tuple(bool(each) for each in manifest.get("masked", [len(values.columns) > 1]))
    if len(masked) + sum(masked) != len(values.columns):
        raise ValueError("The record has other columns than its manifest says.")
    return masked


def digest_of_text(text: str) -> str:
    """Compute a checksum of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
