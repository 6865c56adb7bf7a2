"""Real pictures: three classes of ten are learned in Chromium by the head of a network with real weights."""

import io
from pathlib import Path

import keras
import numpy as np
import pytest
import web_page
from kerasft.examples.efficientnet_lite0 import build_efficientnet_lite0
from PIL import Image
from web_page import choose

from kerasft import export

STAMPS = Path("/usr/share/tuxpaint/stamps")
CLASSES = {"birds": "animals/birds", "flowers": "plants/flowers", "fruit": "food/fruit"}
TAUGHT, TRIED = 10, 8

pytestmark = pytest.mark.skipif(
    not STAMPS.is_dir(), reason="no pictures: on Debian, apt-get install tuxpaint-stamps-default"
)


def build():
    """EfficientNet-Lite0 and a head for the 1,000 classes of ImageNet, of which nothing is used."""
    backbone = build_efficientnet_lite0(classes=None, input_shape=(224, 224, 3), rescale=True)
    outputs = keras.layers.Dense(1000, activation="softmax", name="scores")(backbone.output)
    return keras.Model(backbone.input, outputs)


def flat(path):
    """A stamp on white, of the model's size, so that page and Python are given the same pixels."""
    picture = Image.open(path).convert("RGBA").resize((224, 224))
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


@pytest.mark.slow
def test_three_classes_of_stamps(tmp_path):
    model = build()
    adam = keras.optimizers.Adam(0.003)
    path = tmp_path / "lite0.tflite"
    report = export.to_trainable_tflite(model, path, optimizer=adam, new_classes=3, input_range=(0, 255))
    folder = export.to_web(report, tmp_path / "page")
    stamps = {name: sorted((STAMPS / place).glob("*.png")) for name, place in CLASSES.items()}
    with web_page.chromium() as chromium, web_page.visits(chromium) as visit:
        page = visit(folder)
        page.click("#add")
        for i, (name, found) in enumerate(stamps.items()):
            page.locator(".card .title").nth(i).fill(name)
            page.locator(".card .title").nth(i).press("Enter")
            page.locator(".card .files").nth(i).set_input_files(found[::2][:TAUGHT])
            page.locator(".card").nth(i).locator(".thumbs button").nth(TAUGHT - 1).wait_for()
        page.click("#train")
        page.wait_for_selector("#status[data-steps='100']")
        assert page.get_attribute("#status", "data-held") == "6"
        assert page.get_attribute("body", "data-recorded") == "30"
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "trained.safetensors")

        learned = export.load_head(model, tmp_path / "trained.safetensors")
        right, last = [], None
        for label, found in enumerate(stamps.values()):
            for tried in found[1::2][:TRIED]:
                file = io.BytesIO()
                flat(tried).save(file, "PNG")
                shown = choose(page, f"{tried.stem}.png", file.getvalue())
                expected = learned.predict(np.asarray(flat(tried), "float32")[None], verbose=0)[0]
                np.testing.assert_allclose(shown, expected, atol=1e-4)
                right.append(shown.argmax() == label)
                last = f"{tried.stem}.png", file.getvalue(), shown
        assert len(right) == 3 * TRIED and np.mean(right) >= 0.9

        page.reload()
        page.wait_for_selector("body[data-state=ready]")
        page.set_input_files("#weights", tmp_path / "trained.safetensors")
        page.wait_for_selector("#status:has-text('loaded')")
        assert [field.input_value() for field in page.locator(".card .title").all()] == list(stamps)
        name, content, shown = last
        np.testing.assert_allclose(choose(page, name, content), shown, atol=1e-6)
        assert page.locator("#classes li").first.inner_text().startswith("fruit")
