"""Rows are found again, in memory and on disk, under a cap."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kerasft.cache.records.storage import Storage, free_memory
from kerasft.cache.records.table import Column, StorageError, Table


def arrays(count, start=0):
    values = np.arange(start, start + count)
    return [np.stack([values, -values], 1).astype("float32"), values.astype("int64")]


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_come_back_in_the_order_asked_for(tmp_path, on_disk):
    table = Table(tmp_path if on_disk else None)
    table.append(arrays(5))
    table.append(arrays(3, 5))
    floats, integers = table.take(np.array([7, 0, 7, 4]))
    assert integers.tolist() == [7, 0, 7, 4] and integers.dtype == np.int64
    assert floats.tolist() == [[7, -7], [0, 0], [7, -7], [4, -4]]
    assert len(table) == 8 and table.nbytes == 8 * (2 * 4 + 8)
    table.append(arrays(1, 8))
    assert table.take(np.array([8]))[1].tolist() == [8]


def test_a_table_moves_to_disk(tmp_path):
    table = Table()
    table.append(arrays(5))
    table.move_to(tmp_path / "there")
    assert not table.in_memory
    table.append(arrays(2, 5))
    assert table.take(np.arange(7))[1].tolist() == list(range(7))


def test_what_a_caller_does_to_its_array_does_not_matter():
    column, block = Column((), np.dtype("int64")), np.arange(3)
    column.append(block)
    block[:] = 9
    assert column.take(np.arange(3)).tolist() == [0, 1, 2]


def test_columns_without_elements(tmp_path):
    for table in (Table(), Table(tmp_path)):
        table.append([np.empty((3, 0), "float32")])
        assert table.take(np.array([2, 0]))[0].shape == (2, 0)


def test_batches_have_to_be_alike():
    table = Table()
    table.append([np.zeros((2, 3), "float32")])
    with pytest.raises(
        StorageError, match=r"change from batch to batch: float32 \(4,\) came after float32 \(3,\)"
    ):
        table.append([np.zeros((2, 4), "float32")])
    with pytest.raises(StorageError, match="float64"):
        table.append([np.zeros((2, 3), "float64")])
    assert len(table) == 2


def test_strings_are_not_recorded():
    with pytest.raises(StorageError, match="strings"):
        Table().append([np.array(["a", "b"], object)])


# --- caps


def test_what_exceeds_the_cap_goes_to_disk():
    store = Storage(None, 100, spill=True)
    first, second = store.table(), store.table()
    store.append(first, arrays(4))  # 64 bytes
    store.append(second, arrays(4))
    assert first.in_memory and not second.in_memory
    assert store.bytes_in_memory == store.peak_bytes == 64 and store.nbytes == 128
    folder = second.folder
    assert folder.exists()
    assert second.take(np.arange(4))[1].tolist() == [0, 1, 2, 3]
    store.close()
    assert not folder.exists()


def test_without_a_disk_the_cap_is_the_end(tmp_path):
    for folder in (None, tmp_path):
        store = Storage(folder, 100, spill=False)
        table = store.table()
        store.append(table, arrays(4))
        with pytest.raises(StorageError, match="exceeds max_bytes=100: it has 64 bytes, and a batch adds 48"):
            store.append(table, arrays(3, 4))
        store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_dropped_makes_room():
    store = Storage(None, 100, spill=False)
    table = store.table()
    store.append(table, arrays(4))
    store.drop(table)
    store.append(store.table(), arrays(4))
    assert store.nbytes == 64


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    store = Storage(tmp_path, 10**6, spill=False)
    table = store.table()

    def full(self, block):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Column, "append", full)
    with pytest.raises(StorageError, match="can't be written.*No space left"):
        store.append(table, arrays(4))


def test_what_a_killed_process_left_is_deleted(tmp_path):
    script = (
        "import os, sys; from kerasft.cache.records.storage import Storage; from pathlib import Path\n"
        "store = Storage(Path(sys.argv[1]), 10**6, False); store.table(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob(".recording-*"))) == 1
    mine = Storage(tmp_path, 10**6, False)
    mine.table()
    assert [p.name.split("-")[-2] for p in tmp_path.glob(".recording-*")] == [str(os.getpid())]
    Storage(tmp_path, 10**6, False)  # another store of a process that lives leaves it alone
    assert len(list(tmp_path.glob(".recording-*"))) == 1
    mine.close()


def test_free_memory_is_a_number_of_bytes():
    assert 0 < free_memory() < 2**50
