"""Where a fit's record is, what its cap does, and what happens without room."""

import logging
import os
import subprocess

import numpy as np
import pytest
from cached_fits import BATCH, COUNT, arrays, compare, data, half_frozen, image_model, off, staged

import kerasft
from kerasft import PrefixCache


def test_the_record_on_disk(tmp_path):
    cache = PrefixCache(tmp_path / "there")
    compare(image_model, arrays, cache=cache, batch_size=BATCH)
    assert cache.report.on_disk and list((tmp_path / "there").iterdir()) == []


def test_more_than_the_cap_goes_to_temporary_files():
    cache = PrefixCache(max_bytes=300)
    compare(image_model, arrays, cache=cache, batch_size=BATCH)
    assert cache.report.on_disk and cache.report.peak_bytes <= 300 < cache.report.bytes


def test_more_than_the_cap_without_a_disk(tmp_path):
    for storage in ("memory", tmp_path):
        cache = PrefixCache(storage, max_bytes=500)
        cache = off(image_model(), *data(), cache=cache, reason="exceeds max_bytes=500", batch_size=BATCH)
    assert list(tmp_path.iterdir()) == []


def test_a_coming_cut_for_which_there_is_no_room_is_left_out(caplog):
    schedule = kerasft.UnfreezingSchedule.from_depths(["head", "block_2"], every=3)
    # 44 samples: 3 floats at the head, 6·6·3 floats before block_2, a label of 8 bytes
    for cap, replayed in (
        (44 * (12 + 432 + 8), [False] + [True] * 5),
        (3000, [False, True, True] + [False] * 3),
    ):
        cache = PrefixCache("memory", max_bytes=cap)
        model = staged()
        callbacks = [kerasft.GradualUnfreezing(schedule), cache]
        with caplog.at_level(logging.INFO):
            model.fit(*data(), epochs=6, batch_size=BATCH, verbose=0, callbacks=callbacks)
        assert cache.report.replayed == replayed
    assert "exceeds max_bytes=3000" in cache.reason.replace(",", "")
    assert "Nothing is recorded for the coming cut at block_1_bn" in caplog.text


def test_a_cap_smaller_than_a_batch():
    off(
        image_model(),
        *data(),
        cache=PrefixCache("memory", max_bytes=10),
        reason="max_bytes=10",
        batch_size=BATCH,
    )


def test_float16():
    cache = PrefixCache(dtype="float16")
    compare(image_model, arrays, cache=cache, batch_size=BATCH, tolerance=2e-2)
    exact = PrefixCache()
    image_model().fit(*data(), epochs=2, batch_size=BATCH, verbose=0, callbacks=[exact])
    assert (
        cache.report.bytes - COUNT * 8 == (exact.report.bytes - COUNT * 8) / 2
    )  # labels are int64, as given


def test_float16_that_can_not_hold_the_values():
    x, y = data()
    cache = PrefixCache(dtype="float16")
    off(image_model(), x * 1e7, y, cache=cache, reason='"float16" can\'t hold', batch_size=BATCH)


def test_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    from kerasft.cache.records.table import Column

    append, calls = Column.append, []

    def full(self, block):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        append(self, block)

    def train(callbacks):
        model = image_model()
        model.fit(*data(), epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    plain = train([])
    monkeypatch.setattr(Column, "append", full)
    cache = PrefixCache(tmp_path)
    for a, b in zip(plain.weights, train([cache]).weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert "No space left" in cache.reason and list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    models, (x, y) = [], data(1000)
    for callbacks in ([], [cache := PrefixCache(small_disk, max_bytes=10**9)]):
        models.append(half_frozen())
        models[-1].fit(x, y, epochs=2, batch_size=100, shuffle=False, verbose=0, callbacks=callbacks)
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert "No space left" in cache.reason and list(small_disk.iterdir()) == []
