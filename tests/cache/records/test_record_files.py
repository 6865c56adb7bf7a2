"""A kept record is found again if it is whole, and only then."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerasft.cache.records.record_files import SavedRecord, read_records, write_record
from kerasft.cache.records.replay_order import infer_order
from kerasft.cache.records.sample_index import SampleIndex
from kerasft.cache.records.table import Table


def arrays(count):
    values = np.arange(count)
    return [np.stack([values, -values], 1).astype("float32"), values.astype("int64")]


def batches(*rows):
    return [np.array(r) for r in rows]


def epoch(order, number):
    return [b.tolist() for b in order.epoch(number)]


def record(fingerprints=(5, 6, 7), order=True, folder=None):
    index, values, others = SampleIndex(), Table(folder), Table()
    count = len(fingerprints)
    index.find(np.array(fingerprints, np.uint64))
    values.append(arrays(count)[:1])
    others.append(arrays(count)[1:])
    log = batches(list(range(count)))
    settled = infer_order(log * 2, 1, index.fingerprints(), 0, 1) if order else None
    return SavedRecord(index, values, others, np.arange(count)[::-1], (3, 4), settled, (False,))


def write(target, *given, **options):
    return write_record(target, record(*given, **options))


def test_a_kept_record_is_found_again(tmp_path):
    write(tmp_path)
    ((path, found),) = read_records(tmp_path)
    assert found.index.fingerprints().tolist() == [5, 6, 7]
    assert found.values.take(np.array([2, 0]))[0].tolist() == [[2, -2], [0, 0]]
    assert found.other_columns.take(np.array([2, 0]))[0].tolist() == [2, 0]
    assert found.positions.tolist() == [2, 1, 0] and found.extra_inputs == (3, 4)
    assert epoch(found.order, 1) == [[0, 1, 2]]
    assert write(tmp_path) == path and len(list(read_records(tmp_path))) == 1
    write(tmp_path, (5, 6, 8))
    assert len(list(read_records(tmp_path))) == 2
    assert not list(tmp_path.glob(".recording*"))


def test_an_order_that_is_not_settled(tmp_path):
    write(tmp_path, order=False)
    ((_, found),) = read_records(tmp_path)
    assert found.order is None


def test_a_table_on_disk_is_kept_too(tmp_path):
    (tmp_path / "table").mkdir()
    write_record(tmp_path / "kept", record(folder=tmp_path / "table"))
    ((_, found),) = read_records(tmp_path / "kept")
    assert found.values.take(np.array([1]))[0].tolist() == [[1, -1]]


def test_two_processes_may_write_the_same_record(tmp_path):
    script = (
        "import sys; sys.path[:0] = [sys.argv[2]]\n"
        "from pathlib import Path\nfrom test_record_files import write\n"
        "for _ in range(30): write(Path(sys.argv[1]))"
    )
    here = str(Path(__file__).parent)
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), here]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    ((_, found),) = read_records(tmp_path)
    assert len(found.index) == 3
    assert [p.name for p in tmp_path.iterdir()] == [found.index.digest()]


@pytest.mark.parametrize("harm", ["cut", "flip", "delete", "manifest", "order", "empty"])
def test_a_record_that_is_not_whole_is_passed_over(tmp_path, harm):
    path = write(tmp_path)
    file, manifest = path / "values" / "0.bin", path / "manifest.txt"
    if harm == "cut":
        os.truncate(file, 8)
    elif harm == "flip":
        content = bytearray(file.read_bytes())
        content[3] ^= 1
        file.write_bytes(content)
    elif harm == "delete":
        file.unlink()
    elif harm == "manifest":
        manifest.write_text(manifest.read_text()[:-10])
    elif harm == "order":
        manifest.write_text(manifest.read_text().replace("[[0, 1, 2]]", "[[0, 1, 1]]"))
    else:
        manifest.unlink()
    assert list(read_records(tmp_path)) == []
    write(tmp_path)  # and can be written anew
    assert len(list(read_records(tmp_path))) == 1


def test_a_record_stays_what_it_is_while_another_process_writes_it_anew(tmp_path):
    write(tmp_path)
    ((_, found),) = read_records(tmp_path)
    values = Table()
    values.append([np.full((3, 2), 9, "float32")])
    write_record(
        tmp_path, dataclasses.replace(record((7, 6, 5)), values=values)
    )  # the same samples, otherwise
    assert found.values.take(np.array([0, 2]))[0].tolist() == [[0, 0], [2, -2]]
    assert found.index.fingerprints().tolist() == [5, 6, 7]
    ((_, other),) = read_records(tmp_path)
    assert other.index.fingerprints().tolist() == [7, 6, 5]


def test_bfloat16_comes_back(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given, values = record(), Table()
    values.append([np.arange(3).astype(ml_dtypes.bfloat16)])
    write_record(tmp_path, dataclasses.replace(given, values=values))
    ((_, found),) = read_records(tmp_path)
    (rows,) = found.values.take(np.array([2, 1]))
    assert rows.dtype == ml_dtypes.bfloat16 and rows.tolist() == [2, 1]
