"""Every kind of picture is read as a viewer shows it."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from kerasft.data import pictures
from kerasft.data.pictures import formats, read_picture, suffixes

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3)).astype("uint8")


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(size=(40, 30)):
    """A smooth picture, which JPEG keeps well."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], (x + y) * 255 // sum(size)], -1)
    return Image.fromarray(pixels.astype("uint8"))


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "gif", "jpeg", "ppm", "tga"])
def test_plain_pictures_are_those_of_pillow_and_tensorflow(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    photograph().save(path)
    found = read_picture(path)
    assert found.dtype == np.uint8 and found.shape == (30, 40, 3)
    with Image.open(path) as image:
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
    if kind in ("png", "bmp", "gif"):
        by_tensorflow = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
        np.testing.assert_array_equal(found, by_tensorflow)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
def test_exif_turns_a_picture(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = saved(photograph(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    np.testing.assert_array_equal(read_picture(content), np.asarray(expected))
    assert (read_picture(content).shape[0] > 30) == (turn > 4)


def test_a_turned_jpeg_by_hand():
    # orientation 6: the first row of the file is the right-hand column of the picture
    exif = Image.Exif()
    exif[0x0112] = 6
    left = Image.fromarray(np.repeat(np.repeat([[0, 255]], 16, 0), 16, 1).astype("uint8"))
    found = read_picture(saved(left, "jpeg", exif=exif, quality=95))
    assert found.shape == (32, 16, 3) and found[:12].max() < 20 and found[20:].min() > 235


@pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data"
)  # Pillow's, which it also gives who asks it for pixels
def test_a_broken_exif_block_turns_nothing():
    content = saved(photograph(), "jpeg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_picture(content), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("background", ["white", "black", "#204060"])
def test_transparency_is_put_on_the_background(background):
    alpha = RNG.integers(0, 256, (6, 9, 1))
    alpha[0] = 0
    content = saved(Image.fromarray(np.concatenate([COLOURS, alpha], -1).astype("uint8")), "png")
    ground = np.array({"white": (255,) * 3, "black": (0,) * 3, "#204060": (32, 64, 96)}[background])
    expected = COLOURS * (alpha / 255) + ground * (1 - alpha / 255)
    found = read_picture(content, background=background)
    assert np.abs(found - expected).max() <= 1 and np.all(found[0] == ground)
    black = np.zeros((4, 4, 4), "uint8")
    black[1:3, 1:3, 3] = 255
    shape = read_picture(saved(Image.fromarray(black), "png"))
    assert np.all(shape[0] == 255) and np.all(shape[1:3, 1:3] == 0)  # not all black


def transparent_kinds():
    grey = Image.fromarray(COLOURS[..., 0])
    clear = Image.new("LA", (9, 6), (10, 0))
    palette = Image.fromarray(COLOURS).quantize(16)
    first = palette.getpixel((0, 0))
    return {
        "LA png": saved(clear, "png"),
        "grey png with one clear grey": saved(grey, "png", transparency=int(COLOURS[0, 0, 0])),
        "colour png with one clear colour": saved(
            Image.fromarray(COLOURS), "png", transparency=tuple(int(v) for v in COLOURS[0, 0])
        ),
        "palette png": saved(palette, "png", transparency=first),
        "palette png with an alpha for each colour": saved(palette, "png", transparency=bytes([0] * 16)),
        "gif": saved(palette, "gif", transparency=first),
        "RGBA webp": saved(Image.new("RGBA", (9, 6), (9, 9, 9, 0)), "webp", lossless=True),
        "RGBA avif": saved(Image.new("RGBA", (9, 6), (9, 9, 9, 0)), "avif"),
        "RGBA tiff": saved(Image.new("RGBA", (9, 6), (9, 9, 9, 0)), "tiff"),
        "LA tiff": saved(clear, "tiff"),
    }


@pytest.mark.parametrize("name", transparent_kinds())
def test_every_kind_of_transparency(name):
    found = read_picture(transparent_kinds()[name])
    assert found.shape == (6, 9, 3) and found[0, 0].tolist() == [255, 255, 255]


def png_of_16_bits(values, colour, extra=b""):
    """A PNG written by hand: colour 0 is grey, 2 is RGB."""

    def piece(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", head)
        + extra
        + piece(b"IDAT", zlib.compress(rows))
        + piece(b"IEND", b"")
    )


@pytest.mark.parametrize("colour", [0, 2])
def test_16_bits_become_their_upper_eight_as_in_tensorflow(colour):
    values = RNG.integers(0, 2**16, (5, 7, 3) if colour else (5, 7))
    content = png_of_16_bits(values, colour)
    found = read_picture(content)
    expected = (values if colour else values[..., None].repeat(3, -1)) >> 8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, tf.io.decode_png(content, channels=3))


def test_16_bits_with_one_clear_grey():
    values = np.array([[700, 60_000]])
    clear = b"\x00\x00\x00\x02tRNS" + struct.pack(">H", 700)
    clear += struct.pack(">I", zlib.crc32(clear[4:]))
    assert read_picture(png_of_16_bits(values, 0, clear))[0, :, 0].tolist() == [255, 60_000 >> 8]


def test_cmyk_grey_black_and_white_and_animations():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(read_picture(saved(cmyk, "jpeg")).astype(int) - [255, 0, 0]).max() < 8
    assert read_picture(saved(Image.new("1", (8, 8), 1), "png")).min() == 255
    assert read_picture(saved(Image.new("L", (8, 8), 77), "jpeg"))[0, 0].tolist() == [77] * 3
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("gif", "webp", "png"):
        found = read_picture(saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))
        assert np.abs(found.astype(int) - [255, 0, 0]).max() < 8


def test_the_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(COLOURS), "webp", lossless=True))
    np.testing.assert_array_equal(read_picture(path), COLOURS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jpg: the file is empty"),
        (b"hello, I am a text\n" * 9, "a.jpg: no picture of a kind that is read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a kind"),
        (saved(photograph((200, 150)), "jpeg", quality=95)[:-900], "a.jpg: .*truncated"),
        (saved(photograph(), "png")[:-100], "a.jpg: "),
        (saved(Image.fromarray(np.zeros((4, 4), "float32")), "tiff"), "don't say which number is white"),
    ],
)
def test_what_is_no_picture(tmp_path, content, message):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_picture(path)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "b.jpg")


@pytest.mark.parametrize("name", ["no colour", "#12345678", "", 3])
def test_a_background_is_an_opaque_colour(name):
    with pytest.raises(ValueError, match="background is an opaque colour"):
        read_picture(saved(photograph(), "png"), background=name)


def test_a_picture_without_end_is_refused_before_it_is_decoded():
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head
    content += struct.pack(">I", zlib.crc32(b"IHDR" + head)) + struct.pack(">I", 9) + b"IDAT" + b"\0" * 13
    with pytest.raises(ValueError, match="40,000×40,000 pixels, more than 268,435,456: scale it down"):
        read_picture(content)


def test_formats_are_those_that_pillow_reads_here():
    known = formats()
    assert {"JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000"} <= set(known)
    assert not {"EPS", "PDF", "WMF", "HDF5", "MPEG"} & set(known)
    usual = ".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .avif .jp2 .mpo .apng"
    assert set(usual.split()) <= suffixes()
    assert not {".heic", ".svg", ".psd", ".txt", ".pdf", ".eps", ".mp4", ".h5", ""} & suffixes()


def test_large_pictures_wait_for_each_other():
    room = pictures._Room(100)
    with room.taken(500), pytest.raises(TimeoutError):  # one alone may be larger
        room.free.wait_for = lambda ready: ready() or (_ for _ in ()).throw(TimeoutError)
        with room.taken(1):
            pass
    with room.taken(60), room.taken(40):
        assert room.used == 100
    assert room.used == 0
