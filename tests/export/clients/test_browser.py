"""The page runs in Chromium and gives the scores that LiteRT gives in Python."""

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import web_page
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients import browser
from kerasft.export.clients.browser import to_web
from PIL import Image, ImageOps
from web_page import choose, drop, scores_of

from kerasft import export

ROOT = Path(__file__).parents[3]
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def digits():
    """Grey images of 8 × 8 and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.round(images.reshape(-1, 8, 8, 1) * 255 / 16).astype("float32"), labels.astype("int32")


@pytest.fixture(scope="module")
def reader(digits):
    """A classifier of digits that rescales in its graph and ends in a softmax."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="scores"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(digits[0][:1400], digits[1][:1400], epochs=5, verbose=0)
    return model


@pytest.fixture(scope="module")
def shades():
    """Colour images, 12 high and 10 wide, each with the most of one colour in its upper half."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    images = rng.integers(0, 160, (300, 12, 10, 3))
    images[np.arange(300), :6, :, labels] += 90
    return images.astype("float32"), labels.astype("int32")


@pytest.fixture(scope="module")
def painter(shades):
    """A classifier of colours that takes normalized pixels and gives logits."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3), name="image"),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="logits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit((shades[0] - MEAN) / STD, shades[1], epochs=5, verbose=0)
    return model


@pytest.fixture(scope="module")
def chromium():
    with web_page.chromium() as started:
        yield started


@pytest.fixture
def visit(chromium):
    with web_page.visits(chromium) as open_page:
        yield open_page


def png(pixels):
    """The bytes of a PNG file of an array of shape (height, width, channels)."""
    return tf.io.encode_png(np.asarray(pixels).astype("uint8")).numpy()


def in_python(path, values):
    """The scores that LiteRT gives in Python for one image."""
    run = Interpreter(str(path), num_threads=1).get_signature_runner()
    (taken,), (given,) = run.get_input_details().values(), run.get_output_details().values()
    scale, zero = taken["quantization"]
    if scale:
        values = np.clip(np.round(values / scale + zero), 0, 255)
    (output,) = run(image=values[None].astype(taken["dtype"])).values()
    scale, zero = given["quantization"]
    return (output[0].astype("float64") - zero) * scale if scale else output[0]


@pytest.fixture(scope="module")
def exported(reader, tmp_path_factory):
    return export.to_tflite(reader, tmp_path_factory.mktemp("exported") / "digits.tflite", labels=NAMES)


@pytest.fixture
def npm(tmp_path_factory, monkeypatch):
    """Puts a shell script in npm's place; returns what replaces it."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def replace(script):
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)

    files = " ".join(f"node_modules/@litertjs/{name}" for name in browser._RUNTIME)
    replace(f"for file in {files}; do mkdir -p $(dirname $file); echo $* > $file; done")
    return replace


def test_the_folder_is_whole_and_replaced_in_one_step(exported, npm, tmp_path):
    folder = tmp_path / "page"
    assert to_web(exported, folder) == folder
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {
        *("index.html", "style.css", "page.js", "app.js", "pixels.js", "model.json", "model.tflite"),
        *("litert/core.js", "litert/wasm-utils.js"),
        *(
            f"litert/wasm/litert_wasm_{n}.{k}"
            for n in ("internal", "compat_internal")
            for k in ("js", "wasm")
        ),
    }
    assert (folder / "model.tflite").read_bytes() == Path(exported.path).read_bytes()
    assert (folder / "litert/core.js").read_text().startswith("ci --ignore-scripts")
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert about["labels"] == NAMES and about["input"]["shape"] == [1, 8, 8, 1]
    assert (about["mean"], about["std"], about["probabilities"]) == ([0.0], [1.0], True)

    with pytest.raises(FileExistsError, match="overwrite=True"):
        to_web(exported, folder)
    (folder / "model.tflite").write_bytes(b"old")
    npm("echo no network >&2; exit 1")
    with pytest.raises(export.ExportError, match=r"`npm ping`.*no network"):
        to_web(exported, folder, overwrite=True)
    npm("mkdir -p node_modules/@litertjs")  # the files are not where they are expected
    with pytest.raises(FileNotFoundError):
        to_web(exported, folder, overwrite=True)
    assert (folder / "model.tflite").read_bytes() == b"old" and os.listdir(tmp_path) == ["page"]


def test_a_folder_of_somebody_else_stays(exported, npm, tmp_path):
    (tmp_path / "empty").mkdir()
    assert to_web(exported, tmp_path / "empty", overwrite=True)
    assert to_web(exported, tmp_path / "empty", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "index.html"):
        with pytest.raises(FileExistsError, match="not made by to_web"):
            to_web(exported, path, overwrite=True)
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"


def test_npm_is_missing_or_hangs(exported, npm, tmp_path, monkeypatch):
    npm("exec sleep 20")
    monkeypatch.setattr(browser, "_SECONDS", 0.1)
    with pytest.raises(export.ExportError, match=r"within 0.1 seconds"):
        to_web(exported, tmp_path / "page")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(export.ExportError, match=r"nodejs.org"):
        to_web(exported, tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (1, 8, 8, 4)}, "1 or 3.*the shape"),
        ({"shape": (1, 64)}, "1 or 3.*the shape"),
        ({"shape": (-1, 8, 8, 1)}, "1 or 3.*the shape"),
        ({"dtype": "int8"}, "io='float'"),
        ({"classes": (1, 4, 4, 10)}, "one score for each class"),
        ({"inputs": ()}, "one input and one output"),
        ({"preprocessing": "none", "input_range": None}, "input_range"),
        ({"normalization": ((1.0, 2.0), 1.0)}, "2 values.*1 channels"),
    ],
)
def test_what_the_page_can_not_run_is_refused(exported, npm, tmp_path, change, message):
    image, scores = exported.inputs[0], exported.outputs[0]
    if "shape" in change or "dtype" in change:
        change = {"inputs": (dataclasses.replace(image, **change),)}
    elif "classes" in change:
        change = {"outputs": (dataclasses.replace(scores, shape=change["classes"]),)}
    with pytest.raises(ValueError, match=message):
        to_web(dataclasses.replace(exported, **change), tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_changed_or_is_gone_is_refused(exported, npm, tmp_path):
    with pytest.raises(export.ExportError, match="changed since its export"):
        to_web(dataclasses.replace(exported, sha256="0"), tmp_path / "page")
    with pytest.raises(export.ExportError, match="not there"):
        to_web(dataclasses.replace(exported, path=str(tmp_path / "gone.tflite")), tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_asked_for(tmp_path):
    with pytest.raises(TypeError, match="received str"):
        to_web("model.tflite", tmp_path / "page")


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        ({}, 0.0, 255.0),
        ({"input_range": (0.0, 255.0)}, 0.0, 255.0),
        ({"input_range": (-1.0, 1.0), "preprocessing": "none"}, -1.0, 1.0),
        ({"normalization": (127.0, 128.0), "input_range": (-1.0, 1.0)}, -127 / 128, 1.0),
        ({"normalization": ([127.5], [[[255.0]]])}, -0.5, 0.5),
    ],
)
def test_pixels_are_brought_into_the_models_range(exported, npm, tmp_path, change, low, high):
    to_web(dataclasses.replace(exported, **change), tmp_path / "page")
    about = json.loads((tmp_path / "page" / "model.json").read_text())
    (mean,), (std,) = about["mean"], about["std"]
    assert (0 - mean) / std == pytest.approx(low) and (255 - mean) / std == pytest.approx(high)


def test_npms_lock_pins_what_the_page_imports_and_names_no_host():
    package, lock = (json.loads((ROOT / "export" / "clients" / "web" / n).read_text()) for n in browser._LOCK)
    packages = {k: v for k, v in lock["packages"].items() if k}
    assert set(packages) == {"node_modules/@litertjs/core", "node_modules/@litertjs/wasm-utils"}
    assert packages["node_modules/@litertjs/core"]["version"] == package["dependencies"]["@litertjs/core"]
    assert all("integrity" in v and "resolved" not in v for v in packages.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "io"),
    [
        ("float32", "float"),
        ("float16", "float"),
        ("weight_only", "float"),
        ("int8", "float"),
        ("int8", "uint8"),
    ],
)
def test_the_page_gives_the_scores_that_python_gives(reader, digits, visit, tmp_path, precision, io):
    images, labels = digits
    path = tmp_path / "digits.tflite"
    holdout = (images[1400:], labels[1400:])
    data = {"representative_data": images[:200]} if precision == "int8" else {}
    report = export.to_tflite(reader, path, precision=precision, io=io, labels=NAMES, holdout=holdout, **data)
    page = visit(to_web(report, tmp_path / "page"))
    assert "digits.tflite" in page.inner_text("#about") and "8 × 8 grey" in page.inner_text("#about")
    for i in range(1400, 1410):
        scores = choose(page, f"{i}.png", png(images[i]))
        expected = in_python(path, images[i])
        np.testing.assert_allclose(scores, expected, atol=1e-3)
        shown = [line.split("\n") for line in page.locator("#classes li").all_inner_texts()]
        best = np.argsort(-expected, kind="stable")[:5]
        assert [line[0] for line in shown][:1] == [NAMES[best[0]]] and len(shown) == 5
        assert abs(float(shown[0][1].removesuffix(" %")) - 100 * expected[best[0]]) < 0.1 + 0.05
    assert "ms on this device" in page.inner_text("#time") and not page.is_visible("#note")


@pytest.mark.slow
def test_colours_are_normalized_by_the_page(painter, shades, visit, tmp_path):
    path = tmp_path / "shades.tflite"
    report = export.to_tflite(painter, path, normalization=(MEAN.tolist(), STD.tolist()))
    page = visit(to_web(report, tmp_path / "page"))
    for i in range(5):
        scores = choose(page, f"{i}.png", png(shades[0][i]))
        expected = in_python(path, (shades[0][i] - MEAN) / STD)
        np.testing.assert_allclose(scores, expected, atol=1e-3)
    shown = page.locator("#classes li").all_inner_texts()
    assert [line.split("\n")[0] for line in shown] == [f"class {c}" for c in np.argsort(-expected)]
    assert page.is_visible("#note")  # logits are no probabilities

    holes = np.concatenate([shades[0][0], np.full((12, 10, 1), 255)], axis=-1)
    holes[:, :4, 3] = 0
    white = np.where(holes[..., 3:] == 0, 255, shades[0][0])
    expected = in_python(path, (white - MEAN) / STD)
    np.testing.assert_allclose(choose(page, "holes.png", png(holes)), expected, atol=1e-3)


@pytest.mark.slow
def test_what_a_visitor_does(reader, digits, visit, tmp_path):
    images, path = digits[0], tmp_path / "digits.tflite"
    report = export.to_tflite(reader, path, labels=NAMES)
    folder = to_web(report, tmp_path / "page")
    page = visit(folder)
    expected = [in_python(path, image) for image in images[:3]]

    drop(page, "#drop", "dropped.png", png(images[0]))
    np.testing.assert_allclose(scores_of(page, "dropped.png"), expected[0], atol=1e-3)
    drop(page, "h1", "beside.png", png(images[1]))
    np.testing.assert_allclose(scores_of(page, "beside.png"), expected[1], atol=1e-3)
    assert page.url == page.address

    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no image"})
    page.wait_for_selector("#message:has-text('“a.txt” is not an image')")
    drop(page, "#drop", "broken.png", png(images[0])[:40])
    page.wait_for_selector("#message:has-text('“broken.png” is not an image')")
    drop(page, "#drop", "", b"")
    page.wait_for_selector("#message:has-text('That was no file')")
    assert page.get_attribute("#results", "data-file") == "beside.png"
    np.testing.assert_allclose(choose(page, "after.png", png(images[2])), expected[2], atol=1e-3)
    assert not page.is_visible("#message")

    # a large photograph is brought to the model's size
    large = images[2].repeat(50, axis=0).repeat(50, axis=1)
    assert np.argmax(choose(page, "large.png", png(large))) == np.argmax(expected[2])

    # a grey model sees colours as grey
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    grey = np.round(colours @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(choose(page, "colours.png", png(colours)), in_python(path, grey), atol=1e-3)

    # a browser without relaxed SIMD takes the other build of the runtime
    old = """const real = WebAssembly.instantiate;
        WebAssembly.instantiate = (bytes, ...rest) =>
          bytes.byteLength < 100 ? Promise.reject(new Error("no relaxed SIMD")) : real(bytes, ...rest);"""
    page = visit(folder, script=old)
    assert page.address + "litert/wasm/litert_wasm_compat_internal.wasm" in page.requests
    np.testing.assert_allclose(choose(page, "old.png", png(images[0])), expected[0], atol=1e-3)


def photograph(mode="RGB"):
    """A detailed picture of 90 × 70."""
    y, x = np.mgrid[0:70, 0:90]
    waves = [128 + 120 * np.sin(x / (3 + c) + y / (5 - c)) for c in range(3)]
    alpha = [np.clip(x * 4, 0, 255)] if mode == "RGBA" else []
    return Image.fromarray(np.stack([*waves, *alpha], -1).astype("uint8"))


@pytest.mark.slow
@pytest.mark.parametrize("resize", [None, "antialias", "bilinear", "mediapipe"])
def test_the_page_makes_the_pixels_of_training(painter, visit, tmp_path, resize):
    rule = None if resize is None else {"resize": resize, "background": "#ff8000"}
    report = export.to_tflite(painter, tmp_path / "a.tflite", input_range=(0, 255), pixels=rule)
    assert report.pixels == rule
    page = visit(to_web(report, tmp_path / "page"))
    for turn in (1, 6):
        for kind, mode in (("png", "RGBA"), ("jpeg", "RGB")):
            exif = Image.Exif()
            exif[0x0112] = turn
            file = io.BytesIO()
            photograph(mode).save(file, kind, exif=exif)
            choose(page, f"{turn}.{kind}", file.getvalue())
            seen = page.evaluate("""() => { const c = document.querySelector("#seen");
                return Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data) }""")
            upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).convert("RGBA")
            ground = Image.new("RGBA", upright.size, "white" if rule is None else rule["background"])
            whole = np.asarray(Image.alpha_composite(ground, upright).convert("RGB"), "float32")
            expected = tf.image.resize(whole, (12, 10), antialias=resize != "bilinear").numpy()
            if resize == "mediapipe":  # which the tests of kerasft.data hold against MediaPipe itself
                expected = tf.compat.v1.image.resize_bilinear(whole[None], (12, 10))[0].numpy()
            found = np.reshape(seen, (12, 10, 4))[..., :3]
            assert np.abs(found - expected).max() <= (2.6 if kind == "png" else 4)


@pytest.mark.slow
def test_the_page_says_what_is_missing(reader, digits, visit, chromium, tmp_path):
    report = export.to_tflite(reader, tmp_path / "digits.tflite", input_range=(0, 255))
    folder = to_web(report, tmp_path / "page")
    image = {"name": "a.png", "mimeType": "image/png", "buffer": png(digits[0][0])}

    def message(page):
        return page.inner_text("#message")

    (folder / "model.tflite").rename(folder / "model.old")
    page = visit(folder, state="failed")
    assert message(page) == "The model is not loaded: model.tflite can't be fetched (404)."
    page.evaluate("document.querySelector('#message').textContent = ''")
    page.set_input_files("#file", image)
    page.wait_for_selector("#message:has-text('The model is not loaded: model.tflite')")
    assert not page.is_visible("#time")

    (folder / "model.tflite").write_bytes(b"no model")
    assert "LiteRT.js can't run model.tflite" in message(visit(folder, state="failed"))
    shutil.rmtree(folder / "litert")
    assert "LiteRT.js does not start" in message(visit(folder, state="failed"))
    (folder / "pixels.js").unlink()
    assert "A script of this page can't be read" in message(visit(folder, state="failed"))
    with chromium.new_page() as page:
        page.goto((folder / "index.html").as_uri())
        page.wait_for_selector("body[data-state=failed]")
        assert "Run python -m http.server" in message(page)
