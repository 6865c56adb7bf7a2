"""A folder of odd kinds of file is read or reported, to the last one."""

import numpy as np
import pytest
from pictures import write_classes
from PIL import Image

from kerasft.data import load_dataset

SIDE = 8


def turned(orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def odd_files(folder):
    """Twelve kinds that are read, as (name, the colour that a viewer shows), and six that are not."""
    folder.mkdir(parents=True)
    teal, plain = (0, 128, 128), Image.new("RGB", (20, 10), (0, 128, 128))
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    palette = Image.new("P", (20, 10), 3)
    palette.putpalette([10, 20, 30] * 8)
    values = np.full((10, 20), 200 * 257, "uint16")
    made = {
        "phone.jpg": (plain, {"exif": turned(), "quality": 95}, teal),
        "clear.png": (clear, {}, (255,) * 3),
        "grey_and_alpha.png": (Image.new("LA", (20, 10), (9, 0)), {}, (255,) * 3),
        "palette.png": (palette, {"transparency": 3}, (255,) * 3),
        "deep.png": (Image.fromarray(values), {}, (200,) * 3),
        "print.jpeg": (Image.new("CMYK", (20, 10), (255, 0, 0, 0)), {"quality": 95}, (0, 255, 255)),
        "web.webp": (clear, {"lossless": True}, (255,) * 3),
        "scan.tif": (plain, {"exif": turned()}, teal),
        "new.avif": (plain, {"quality": 95}, teal),
        "moving.gif": (plain, {"save_all": True, "append_images": [clear.convert("RGB")]}, teal),
        "old.bmp": (plain, {}, teal),
        "browser.jfif": (plain, {"format": "JPEG", "quality": 95}, teal),
        "SHOUT.PNG": (plain, {}, teal),
    }
    for name, (image, options, _) in made.items():
        image.save(folder / name, **options)
    others = ["phone.heic", "drawing.svg", "notes.txt", "layers.psd", "film.mp4", "README"]
    for name in others:
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic" + name.encode())
    for name in (".DS_Store", "Thumbs.db", "._phone.jpg"):
        (folder / name).write_bytes(b"noise")
    return {name: colour for name, (*_, colour) in made.items()}, others


def test_a_folder_of_odd_kinds_is_read_or_reported_completely(tmp_path, caplog):
    colours, others = odd_files(tmp_path / "odd")
    write_classes(tmp_path, classes=("plain",), count=20)
    data = load_dataset(tmp_path, image_size=SIDE, batch_size=64)
    assert sorted(path.name for path in data.left_out) == sorted(others)
    assert data.skipped == () and len(data.split) == 20 + len(colours)
    said = "\n".join(data.notes)
    assert all(note in caplog.text for note in data.notes)
    assert "6 files are left out" in said and "1 .heic" in said and "1 without a suffix" in said
    assert "4 of 33 images have an alpha channel" in said and "2 of 33 images are turned upright" in said

    found = []
    for part in (data.train, data.validation, data.test):
        for images, labels in part:
            found += [image for image, label in zip(images.numpy(), labels) if label == 0]
    assert len(found) == len(colours)
    shown = sorted(tuple(np.median(image, (0, 1)).astype(int)) for image in found)
    for image, colour in zip(shown, sorted(colours.values())):
        assert np.abs(np.subtract(image, colour)).max() <= 4


def test_the_background_and_the_resize_are_chosen(tmp_path):
    write_classes(tmp_path, classes=("plain",), count=6)
    (tmp_path / "clear").mkdir()
    for i in range(6):
        Image.new("RGBA", (9, 9 + i)).save(tmp_path / "clear" / f"{i}.png")
    data = load_dataset(tmp_path, image_size=SIDE, background="#203040", resize="bilinear")
    assert (data.pixels.resize, data.pixels.background) == ("bilinear", "#203040")
    for images, labels in data.train:
        assert np.all(images.numpy()[labels.numpy() == 0] == [32, 48, 64])
    for bad, message in (
        ({"background": "glass"}, "opaque colour"),
        ({"resize": "cubic"}, "resize is one of"),
    ):
        with pytest.raises(ValueError, match=message):
            load_dataset(tmp_path, **bad)


def test_files_that_are_not_what_they_seem_are_named_or_skipped(tmp_path):
    write_classes(tmp_path, count=12)
    bad = {"empty.jpg": b"", "text.jpg": b"hello", "cut.png": (tmp_path / "cat" / "0.png").read_bytes()[:60]}
    for name, content in bad.items():
        (tmp_path / "cat" / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"3 of 27 images can't be read") as raised:
        load_dataset(tmp_path, image_size=SIDE)
    assert all(name in str(raised.value) for name in bad) and "--skip-corrupt" in str(raised.value)
    data = load_dataset(tmp_path, image_size=SIDE, skip_corrupt=True)
    assert {path.name for path in data.skipped} == set(bad) and len(data.split) == 24
    assert "3 of 27 images can't be read, and are left out." in data.notes


def test_a_class_of_unread_kinds_says_what_is_there(tmp_path):
    write_classes(tmp_path, count=3)
    (tmp_path / "phone").mkdir()
    for i in range(3):
        (tmp_path / "phone" / f"{i}.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"phone holds no image .*there are 3 \.heic"):
        load_dataset(tmp_path)
