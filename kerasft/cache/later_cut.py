"""The record at a later cut, computed from the record at an earlier one without reading the source."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.cuts import Cut, value_places, with_masks
from kerasft.cache.records import SavedRecord, Storage

BATCH = 64


def record_at_later_cut(
    lower: Cut, upper: Cut, record: SavedRecord, store: Storage, dtype: str
) -> SavedRecord | None:
    """The record at `upper`, computed from that at `lower`.

    Args:
        lower: A cut of the same program as `upper`, all of whose prefix belongs to the prefix of `upper`.
        upper: The cut that lacks a record.
        record: The record at `lower`.
        store: Where the new table is.
        dtype: Of recorded floats: "float32" for what was computed, or "float16".

    Returns:
        The same samples in the same order with their values at `upper`; None if something in between reads
        more of the model's inputs than the record holds.

    Raises:
        StorageError: There is no room.
    """
    program = upper.program
    produced = {n: o for o in upper.before for n in o.writes}
    wanted, stack = set(), [*upper.values]
    while stack:
        number = stack.pop()
        if number in lower.values or number in record.extra_inputs:
            continue
        if number not in produced:
            return None
        operation = produced[number]
        if id(operation) not in wanted:
            wanted.add(id(operation))
            stack.extend(operation.reads)
    if not set(upper.extra_inputs) <= set(record.extra_inputs):
        return None
    between = [operation for operation in upper.before if id(operation) in wanted]

    @functools.partial(tf.function, autograph=False)
    def compute(columns: Any, extra_inputs: Any) -> Any:
        given = list(columns)
        for place, tensor in zip(value_places(record.masked), lower.tensors, strict=True):
            given[place] = tf.cast(given[place], tensor.dtype)
        values = {
            **dict(zip(lower.values, with_masks(given, record.masked), strict=True)),
            **dict(zip(record.extra_inputs, extra_inputs, strict=True)),
        }
        program.run(between, values, training=False)
        return [(values[number], _keras.mask_of(values[number])) for number in upper.values]

    table = store.table()
    masked = (False,) * len(upper.values)
    for begin in range(0, len(record.index), BATCH):
        rows = np.arange(begin, min(begin + BATCH, len(record.index)))
        columns = record.values.take(record.positions[rows])
        extra_inputs = record.other_columns.take(rows)[: len(record.extra_inputs)]
        found = compute(columns, extra_inputs)
        masked = tuple(mask is not None for _, mask in found)
        arrays = [t.numpy() for pair in found for t in pair if t is not None]
        for place in value_places(masked):
            if dtype == "float16" and arrays[place].dtype.kind == "f":
                arrays[place] = arrays[place].astype(np.float16)
        store.append(table, arrays)
    positions = np.arange(len(record.index))
    return dataclasses.replace(record, values=table, positions=positions, masked=masked)
