"""A head is taught in Chromium: its weights are those of Keras's own training, and Keras reads them back."""

import io
import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import web_page
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.on_device.state import read_state
from PIL import Image
from safetensors_file import write_safetensors
from web_page import choose, drop, scores_of

from kerasft import export

FAKE_CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def chromium():
    with web_page.chromium(FAKE_CAMERA) as started:
        yield started


@pytest.fixture
def visit(chromium):
    with web_page.visits(chromium) as open_page:
        yield open_page


def shade(label, seed):
    """A picture 12 high and 10 wide with the most of one colour."""
    pixels = np.random.default_rng(seed).integers(0, 120, (12, 10, 3))
    pixels[..., label] += 100
    return pixels.astype("uint8")


def png(pixels):
    """The bytes of a PNG file of an array of shape (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def build():
    """A network of colours, whose head is for two classes that a visitor does not know."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 10, 3), name="image")
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="scores")(x))


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def report(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "colours.tflite"
    adam = keras.optimizers.Adam(0.05)
    given = {"new_classes": 4, "batch": 6, "input_range": (0, 255)}
    return export.to_trainable_tflite(model, path, optimizer=adam, **given)


@pytest.fixture(scope="module")
def folder(report, tmp_path_factory):
    return export.to_web(report, tmp_path_factory.mktemp("pages") / "page")


def files(label, seeds):
    return [{"name": f"{s}.png", "mimeType": "image/png", "buffer": png(shade(label, s))} for s in seeds]


def give(page, card, pictures):
    """Give pictures to a class, by the place of its card."""
    before = page.locator(".card").nth(card).locator(".thumbs button").count()
    page.locator(".card .files").nth(card).set_input_files(pictures)
    thumbs = page.locator(".card").nth(card).locator(".thumbs button")
    thumbs.nth(before + len(pictures) - 1).wait_for()


def name(page, card, text):
    field = page.locator(".card .title").nth(card)
    field.fill(text)
    field.press("Enter")


def names(page):
    return [field.input_value() for field in page.locator(".card .title").all()]


def train(page, **fields):
    """Press the button; returns what is said at the end."""
    for key, value in fields.items():
        page.fill(f"#{key}", str(value))
    page.evaluate("delete document.querySelector('#status').dataset.steps")
    page.click("#train")
    page.wait_for_selector("#status[data-steps]")
    found = page.evaluate("({ ...document.querySelector('#status').dataset })")
    return page.inner_text("#status"), {key: float(value) for key, value in found.items()}


def download(page, path):
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(path)
    return download.value.suggested_filename


def message(page, part):
    """Wait for a message with a part of its text; returns it whole."""
    page.locator("#message", has_text=part).wait_for()
    return page.inner_text("#message")


def test_what_a_visitor_teaches_keras_reads(model, report, folder, visit, tmp_path):
    page = visit(folder)
    assert names(page) == ["Class 1", "Class 2"] and "room for 2 more" in page.inner_text("#limit")
    assert (page.input_value("#rate"), page.inner_text("#batch")) == ("0.05", "6")
    name(page, 0, "  red   things ")
    name(page, 1, "green")
    give(page, 0, files(0, (1, 2, 3)))
    give(page, 1, files(1, (4, 5, 6)))
    assert page.get_attribute("body", "data-recorded") == "6"
    said, numbers = train(page, steps=60)
    assert numbers["steps"] == 60 and numbers["held"] == 0 and "five new ones in each class" in said
    assert page.get_attribute("body", "data-recorded") == "6"  # the frozen layers ran no second time

    # six pictures and six in a step: each is the whole batch, so that Keras's own steps are the same
    x = np.stack([*(shade(0, s) for s in (1, 2, 3)), *(shade(1, s) for s in (4, 5, 6))]).astype("float32")
    features = keras.Model(model.input, model.layers[-2].output).predict(x, verbose=0)
    head = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4, activation="softmax")])
    first, _ = read_state(Path(report.path).with_suffix(".npz"))
    head.set_weights([first["scores_kernel"], first["scores_bias"]])
    head.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", jit_compile=False)
    losses = head.fit(features, np.repeat([0, 1], 3), batch_size=6, epochs=60, verbose=0).history["loss"]
    assert numbers["loss"] == pytest.approx(np.mean(losses[-10:]), rel=1e-4)

    assert download(page, tmp_path / "a.safetensors") == "colours.safetensors"
    state, digest = read_state(tmp_path / "a.safetensors")
    assert digest == report.digest and list(state) == [w.name for w in report.state] and state["step"] == 60
    for key, weight in zip(("scores_kernel", "scores_bias"), head.get_weights()):
        np.testing.assert_allclose(state[key], weight, atol=1e-4)

    learned = export.load_head(build(), tmp_path / "a.safetensors")
    shown = choose(page, "green.png", png(shade(1, 9)))
    expected = learned.predict(shade(1, 9)[None].astype("float32"), verbose=0)[0]
    np.testing.assert_allclose(shown, expected, atol=1e-4)
    lines = [line.split("\n") for line in page.locator("#classes li").all_inner_texts()]
    assert lines[0][0] == "green" and shown.argmax() == 1
    assert {line[0] for line in lines[2:]} == {"output 3, without a class", "output 4, without a class"}

    page.reload()
    page.wait_for_selector("body[data-state=ready]")
    assert names(page) == ["Class 1", "Class 2"]
    assert np.abs(choose(page, "green.png", png(shade(1, 9))) - shown).max() > 0.01
    page.set_input_files("#weights", tmp_path / "a.safetensors")
    page.wait_for_selector("#status:has-text('“a.safetensors” are loaded')")
    assert names(page) == ["red things", "green"]
    np.testing.assert_allclose(scores_of(page, "green.png"), shown, atol=1e-6)

    # it goes on from there, with the optimizer's state
    give(page, 0, files(0, (1, 2, 3)))
    give(page, 1, files(1, (4, 5, 6)))
    train(page, steps=5)
    download(page, tmp_path / "b.safetensors")
    more = head.fit(features, np.repeat([0, 1], 3), batch_size=6, epochs=5, verbose=0).history["loss"]
    assert float(page.get_attribute("#status", "data-loss")) == pytest.approx(np.mean(more), rel=1e-3)
    state, _ = read_state(tmp_path / "b.safetensors")
    np.testing.assert_allclose(state["scores_kernel"], head.get_weights()[0], atol=1e-4)
    page.click("#reset")
    page.wait_for_selector("#status:has-text('came with')")
    download(page, tmp_path / "c.safetensors")
    state, _ = read_state(tmp_path / "c.safetensors")
    assert all(np.array_equal(state[key], value) for key, value in first.items())


def test_pictures_are_held_back_and_classes_come_and_go(folder, visit):
    page = visit(folder)
    page.click("#add")
    assert names(page) == ["Class 1", "Class 2", "Class 3"]
    assert page.evaluate("document.activeElement.value") == "Class 3"
    for label in range(3):
        give(page, label, files(label, range(10 * label, 10 * label + 10)))
    said, numbers = train(page, steps=80)
    assert (numbers["held"], numbers["right"]) == (6, 6)
    assert "Of 6 pictures held back, 6 are right (100 %)" in said and "on 24 pictures" in said
    assert not page.is_visible("#changed") and page.is_visible("#chart")
    first = numbers["loss"]
    _, again = train(page, steps=80)
    assert again["held"] == 6 and again["loss"] < first  # the same ones, which no step has seen

    # the middle class goes, and the next new one has its output
    page.locator(".card .remove").nth(1).click()
    page.wait_for_selector("#changed")
    assert names(page) == ["Class 1", "Class 3"]
    assert choose(page, "green.png", png(shade(1, 99))).argmax() == 1
    assert "output 2, without a class" in page.locator("#classes li").first.inner_text()
    page.click("#add")
    page.click("#add")
    page.wait_for_selector("#limit:has-text('new_classes')")
    assert page.is_disabled("#add") and names(page) == ["Class 1", "Class 3", "Class 2", "Class 4"]
    page.locator("#classes li", has_text="Class 2").wait_for()
    assert "Class 2" in page.locator("#classes li").first.inner_text()

    # one picture after the other is taken away by the keyboard
    thumbs = page.locator(".card").first.locator(".thumbs button")
    thumbs.first.focus()
    for left in (9, 8):
        page.keyboard.press("Enter")
        page.wait_for_selector(f".count:has-text('{left} pictures')")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Remove picture 1 of Class 1")
    drop(page, ".card", "dropped.png", png(shade(0, 70)))
    page.wait_for_selector(".count:has-text('9 pictures')")
    drop(page, "h1", "beside.png", png(shade(0, 71)))  # which stays on the page, and does nothing
    assert thumbs.count() == 9 and page.url == page.address


def test_what_is_refused_changes_nothing(folder, visit):
    page = visit(folder)
    page.click("#train")
    assert "“Class 1”, “Class 2” have no picture" in message(page, "no picture")
    page.locator(".card .remove").nth(1).click()
    page.wait_for_selector("#message", state="hidden")
    page.click("#train")
    assert "There is one class" in message(page, "two or more")
    page.click("#add")
    give(page, 0, files(0, range(3)))
    page.click("#train")
    assert "“Class 2” has no picture" in message(page, "Class 2")
    give(page, 1, files(1, range(3)))

    for text in ("NaN", "0", "-0.1", "fast", "", "0,01", "1e-60", "1e60", "Infinity"):
        page.fill("#rate", text)
        page.click("#train")
        assert f"“{text}”. It has to be a number above 0" in message(page, f"“{text}”")
    page.fill("#rate", "0.05")
    for text in ("0", "2.5", "many"):
        page.fill("#steps", text)
        page.click("#train")
        message(page, f"“{text}”" if text != "2.5" else "whole")
    assert page.get_attribute("#status", "data-steps") is None

    before = choose(page, "try.png", png(shade(0, 50)))
    page.fill("#steps", "50")
    page.fill("#rate", "3e38")
    page.click("#train")
    assert "ran away" in message(page, "smaller learning rate")
    np.testing.assert_array_equal(choose(page, "again.png", png(shade(0, 50))), before)

    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": png(shade(0, 0))[:60]}
    page.locator(".card .files").first.set_input_files([*files(0, (7, 8)), broken, *files(0, (9,))])
    assert "None of the 4 pictures was added" in message(page, "“broken.png” is not an image")
    assert page.locator(".card").first.locator(".thumbs button").count() == 3
    page.locator(".card .files").first.set_input_files([broken])
    assert "None of" not in message(page, "“broken.png” is not an image that this browser can read. Choose")
    page.set_input_files("#file", broken)
    page.wait_for_timeout(100)
    assert page.get_attribute("#results", "data-file") == "again.png"

    for text, part in (("Class 2", "Two classes can't have the name “Class 2”"), (" ", "needs a name")):
        name(page, 0, text)
        message(page, part)
        assert names(page) == ["Class 1", "Class 2"]


def test_files_of_other_weights_are_refused(report, folder, visit, tmp_path):
    page = visit(folder)
    path = tmp_path / "w.safetensors"
    state, digest = read_state(Path(report.path).with_suffix(".npz"))
    before = choose(page, "try.png", png(shade(0, 50)))
    number = itertools.count()

    def refused(part, content=None):
        if content is not None:
            path.write_bytes(content)
        page.set_input_files("#weights", path)
        text = message(page, part)
        page.evaluate("document.querySelector('#message').textContent = ''")
        assert names(page) == ["Class 1", "Class 2"] and "Not trained" in page.inner_text("#status")
        np.testing.assert_array_equal(choose(page, f"{next(number)}.png", png(shade(0, 50))), before)
        return text

    refused("no safetensors file", b"")
    refused("no safetensors file", b"\xff" * 40)
    refused("no safetensors file", (2).to_bytes(8, "little") + b"[]")
    write_safetensors(path, state, digest)
    refused("no safetensors file", path.read_bytes()[:-4])
    write_safetensors(path, {f"other_{key}": value for key, value in state.items()}, digest)
    text = refused("weights of another model")
    assert "“other_scores_kernel”" in text and "“scores_kernel”" in text
    write_safetensors(path, {"scores_kernel": state["scores_kernel"]}, digest)
    refused("weights of another model")
    write_safetensors(path, {key: v for key, v in state.items() if key != "step"}, digest)
    refused("lacks “step” of the optimizer")
    write_safetensors(path, {**state, "scores_kernel": np.zeros((12, 3), "float32")}, digest)
    assert "(12, 3), this model (12, 4)" in refused("number of classes")
    write_safetensors(path, state, "0" * 64)
    assert report.digest[:12] in refused("000000000000…")
    write_safetensors(path, state, "")
    refused("missing")
    write_safetensors(path, {**state, "scores_bias": np.float32([0, np.nan, 0, 0])}, digest)
    refused("not finite")
    for labels in ("{", '["a"]', '["a", "a", null, null]', '["a", "", null, null]', '["a", 1, null, null]'):
        write_labelled(path, state, digest, labels)
        refused("no names of 4 classes")

    # a class with pictures that the file does not know
    give(page, 0, files(0, range(2)))
    write_labelled(path, state, digest, '["Class 2", null, "dog", null]')
    page.set_input_files("#weights", path)
    assert "“Class 2”, “dog”" in message(page, "“Class 1” here has pictures")
    assert names(page) == ["Class 1", "Class 2"]
    name(page, 0, "dog")
    page.wait_for_selector("#message", state="hidden")
    write_labelled(path, state, digest, '["cat", null, "dog", null]')
    page.set_input_files("#weights", path)
    page.wait_for_selector("#status:has-text('loaded')")
    assert names(page) == ["cat", "dog"]
    assert [text[:2] for text in page.locator(".count").all_inner_texts()] == ["No", "2 "]

    # weights alone, as another program writes them
    write_safetensors(path, {key: state[key] + 1 for key in ("scores_kernel", "scores_bias")}, digest)
    page.evaluate("document.querySelector('#status').textContent = ''")
    page.set_input_files("#weights", path)
    page.wait_for_selector("#status:has-text('It names no classes')")
    assert names(page) == ["cat", "dog"]


def write_labelled(path, state, digest, labels):
    """A file of weights with the names of classes, as text."""
    write_safetensors(path, state, digest)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["labels"] = labels
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_the_webcam(folder, visit):
    page = visit(folder, permissions=[])
    page.locator(".card .film").first.click()
    assert "choose files" in message(page, "The webcam was refused")
    assert not page.is_visible("#camera")

    page.context.grant_permissions(["camera"], origin=page.address.rstrip("/"))
    page.locator(".card .film").first.click()
    page.wait_for_selector("#camera[open]")
    assert page.inner_text("#camera-title") == "Pictures of Class 1"
    for count in (1, 2):
        page.click("#shoot")
        page.wait_for_selector(f"#shot:has-text('{count} picture')")
    page.keyboard.press("Escape")
    assert not page.is_visible("#camera")
    assert page.evaluate("document.querySelector('#video').srcObject") is None
    assert page.locator(".card").first.locator(".thumbs button").count() == 2
    assert not page.is_visible("#message")
    page.click("#film")
    page.wait_for_selector("#camera[open]")
    page.click("#shoot")
    assert len(scores_of(page, "webcam 1")) == 4
    page.click("#done")
    assert page.is_visible("#image")

    reasons = {"NotFoundError": "There is no webcam", "NotReadableError": "another program", "X": "X-ray"}
    for error, part in reasons.items():
        page.evaluate(
            """(error) => { navigator.mediaDevices.getUserMedia = () =>
              Promise.reject(new DOMException("X-ray", error)) }""",
            error,
        )
        page.click("#film")
        message(page, part)
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.click("#film")
    message(page, "https:// and of localhost alone")


def test_a_training_is_stopped(folder, visit):
    page = visit(folder)
    give(page, 0, files(0, range(3)))
    give(page, 1, files(1, range(3)))
    page.fill("#steps", "10000000")
    page.click("#train")
    page.wait_for_selector("#bar:not([hidden])")
    page.wait_for_function("document.querySelector('#now').textContent.includes('Step')")
    assert page.is_disabled("#train") and page.is_disabled("#save") and page.is_disabled("#file")
    page.click("#stop")
    page.wait_for_selector("#status:has-text('Stopped after')")
    assert 0 < int(page.get_attribute("#status", "data-steps")) < 10000000
    assert page.is_enabled("#train") and not page.is_visible("#bar")


def test_it_is_for_all(folder, visit):
    for scheme, width in (("light", 360), ("dark", 1280)):
        page = visit(folder, color_scheme=scheme, viewport={"width": width, "height": 800})
        give(page, 0, files(0, range(9)))
        choose(page, "try.png", png(shade(0, 50)))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, progress, canvas#x")]
            .filter((node) => !node.closest("template") && !node.innerText?.trim() && !node.ariaLabel &&
              !node.labels?.length).map((node) => node.outerHTML)""")
        assert unnamed == []
        assert page.locator("#status[role=status], #message[role=alert], #results[aria-live]").count() == 3
        # from the top, the keyboard comes to each part
        reached = set()
        page.evaluate("document.activeElement.blur()")
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        assert {"add", "rate", "steps", "train", "file", "film", "save", "weights", "reset"} <= reached
        assert {"title", "remove plain", "files", "film plain"} <= reached


def test_the_classes_of_a_model_that_is_not_begun_anew(model, visit, tmp_path):
    labels = ["warm", "cold"]
    given = {"optimizer": "adam", "labels": labels, "input_range": (0, 255)}
    report = export.to_trainable_tflite(model, tmp_path / "two.tflite", **given)
    page = visit(export.to_web(report, tmp_path / "page"))
    assert names(page) == labels and page.is_disabled("#add")
    assert "exported with new_classes" in page.inner_text("#limit") and page.inner_text("#batch") == "16"
    shown = choose(page, "try.png", png(shade(0, 50)))
    expected = model.predict(shade(0, 50)[None].astype("float32"), verbose=0)[0]
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_frozen_layers_in_int8(model, visit, tmp_path):
    path = tmp_path / "small.tflite"
    data = np.stack([shade(label, seed) for label in range(3) for seed in range(20)]).astype("float32")
    given = {"optimizer": "sgd", "new_classes": ["red", "green"], "input_range": (0, 255)}
    report = export.to_trainable_tflite(model, path, precision="int8", representative_data=data, **given)
    page = visit(export.to_web(report, tmp_path / "page"))
    assert names(page) == ["red", "green"] and "int8" in page.inner_text("#about")
    first, _ = read_state(path.with_suffix(".npz"))
    weights = {w.name: first[w.name] for w in report.weights}
    classify = Interpreter(str(path)).get_signature_runner("classify")
    for seed in (50, 51):
        expected = classify(image=shade(1, seed)[None].astype("float32"), **weights)["scores"][0]
        np.testing.assert_allclose(choose(page, f"{seed}.png", png(shade(1, seed))), expected, atol=1e-5)
    give(page, 0, files(0, range(5)))
    give(page, 1, files(1, range(5)))
    _, numbers = train(page, rate=0.5, steps=300)
    assert (numbers["held"], numbers["right"]) == (2, 2)
