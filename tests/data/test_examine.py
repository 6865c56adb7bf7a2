"""Damaged files are found before training, most of them without being decoded."""

import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image

from kerasft.data import examine as module
from kerasft.data.examine import examine

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
KINDS = ["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"]


def content_of(kind, image=None, **options):
    file = io.BytesIO()
    (image or Image.fromarray(NOISE)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_short_is_damaged(tmp_path, kind):
    path, content = tmp_path / f"a.{kind}", content_of(kind)
    path.write_bytes(content)
    found = examine(path)
    assert found.damage is None and found.digest == hashlib.sha256(content).hexdigest()
    for share in (0.3, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert examine(path).damage


def test_a_jpeg_with_a_small_one_in_its_head_is_cut_short(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "camera"
    block = exif.tobytes() + content_of("jpeg", Image.new("RGB", (8, 8)))  # ends with FF D9
    content = content_of("jpeg", exif=block, quality=95)
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:-1000])
    assert b"\xff\xd9" in content[:-1000] and "runcated" in examine(path).damage
    path.write_bytes(content + b"what a camera adds")
    assert examine(path).damage is None


def test_a_changed_png_is_damaged(tmp_path):
    content = bytearray(content_of("png"))
    content[len(content) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    assert examine(tmp_path / "a.png").damage


def test_a_png_is_not_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(content_of("png"))
    monkeypatch.setattr(Image.Image, "load", None)
    assert examine(tmp_path / "a.png").damage is None


def test_a_jpeg_is_damaged_if_it_can_not_be_decoded_as_a_whole(tmp_path):
    rng, path, seen = np.random.default_rng(0), tmp_path / "a.jpg", set()
    for _ in range(60):
        content = bytearray(content_of("jpeg"))
        content[rng.integers(300, len(content) - 10)] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        try:
            Image.open(io.BytesIO(content)).load()
            whole = True
        except OSError:
            whole = False
        assert (examine(path).damage is None) == whole
        seen.add(whole)
    assert seen == {True, False}


def test_alpha_and_turns_are_seen(tmp_path):
    clear = Image.new("RGBA", (4, 4))
    for kind in ("png", "webp", "avif", "tiff", "jpeg"):
        exif = Image.Exif()
        exif[0x0112] = 3
        for image, options, alpha, turned in (
            (clear, {}, True, False),
            (clear.convert("RGB"), {"exif": exif}, False, True),
        ):
            if kind == "jpeg" and alpha:
                continue
            path = tmp_path / f"a.{kind}"
            path.write_bytes(content_of(kind, image, **options))
            found = examine(path)
            assert (found.damage, found.alpha, found.turned) == (None, alpha, turned)


def test_what_is_missing_or_has_no_white_is_damaged(tmp_path):
    assert "No such file" in examine(tmp_path / "gone.png").damage
    (tmp_path / "a.tif").write_bytes(content_of("tiff", Image.fromarray(NOISE[..., 0].astype("float32"))))
    assert "white" in examine(tmp_path / "a.tif").damage
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes into it
    assert "pipe" in examine(tmp_path / "pipe.png").damage
    assert [f.damage is None for f in module.examined([tmp_path / "a.tif", tmp_path / "gone.png"])] == [
        False
    ] * 2
