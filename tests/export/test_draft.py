"""Drafts: files that get their name only if they keep what is asked of them."""

import errno
from pathlib import Path

import numpy as np
import pytest
from kerasft.export.draft import check_drop, check_limits, finisher, hold
from kerasft.export.model import Subject
from kerasft.export.parity import Comparison
from kerasft.export.report import Quality
from small_models import classifier, fitted

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier(), epochs=1)


def test_a_file_that_differs_is_not_written_and_the_old_one_stays(model, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    with pytest.raises(export.ExportError, match=r"largest difference .* allowed is 0"):
        export.to_tflite(model, path, precision="float16", tolerance=0.0, overwrite=True)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_a_full_disk(model, tmp_path, monkeypatch):
    def full(self, content):
        Path(self).touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="disk is full"):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_drop_is_held_against_what_is_allowed():
    right, half = np.zeros(10, int), np.arange(10) % 2
    check_drop(Quality.of(right, right, right), 0.0)
    with pytest.raises(export.ExportError, match=r"on 10 samples is 0.5; allowed is 0.01.*weight_only"):
        check_drop(Quality.of(right, half, right), 0.01)
    with pytest.raises(ValueError, match="max_drop=0.01 can't be held: .* as there is no holdout"):
        check_drop(None, 0.01, "there is no holdout")


def test_metadata_need_labels_and_calibrated_scores_need_metadata(model):
    subject = Subject.of(model)
    assert finisher(subject, False, None)(b"content") == b"content"
    with pytest.raises(ValueError, match="metadata=True needs labels"):
        finisher(subject, True, None)
    with pytest.raises(ValueError, match="score_calibration is part of the metadata"):
        finisher(subject, False, export.ScoreCalibration([(1.0, 1.0, 0.0)]))


@pytest.mark.parametrize(
    ("values", "advice", "other"),
    [
        # prices about a thousand, and boxes beside scores; both in steps of a 255th
        (lambda rng: 1000 + rng.normal(size=(80, 1)), "constant offset", "two outputs"),
        (lambda rng: rng.uniform(0, [640, 640, 1], (80, 3)), "two outputs", "constant offset"),
    ],
)
def test_the_advice_fits_what_int8_has_lost(values, advice, other):
    given = values(np.random.default_rng(0))
    step = given.max() / 255
    found = Comparison()
    for place, row in enumerate(given[:, None]):
        found.add({"y": np.round(row / step) * step}, {"y": row}, place)
    with pytest.raises(export.ExportError, match=advice) as caught:
        hold(found, "int8", None)
    assert other not in str(caught.value) and 'precision="weight_only"' in str(caught.value)
    with pytest.raises(export.ExportError, match="Put them apart") as caught:
        hold(found, "int8", None, "Put them apart.")
    assert advice not in str(caught.value)


def test_limits_are_numbers():
    check_limits(max_drop=None, tolerance=0.0, max_bytes=np.int64(3), max_ms=2)
    for wrong in (np.nan, -0.1, np.inf, "1%", True):
        with pytest.raises(ValueError, match="tolerance is a number of 0 or more, or None; received"):
            check_limits(tolerance=wrong)
    with pytest.raises(ValueError, match="max_drop is a share .*such as 0.01; received 5"):
        check_limits(max_drop=5)
