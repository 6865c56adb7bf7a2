"""Client code in JavaScript, in headless Chromium: it classifies and teaches as LiteRT does in Python."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import web_page
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients.source_code import client_code
from small_models import classifier, fitted, images

from kerasft import export

LABELS = ["dark", "grey", "bright"]
PAGE = """<!doctype html><script type="importmap">{"imports": {
  "@litertjs/core": "./litert/core.js", "@litertjs/wasm-utils": "./litert/wasm-utils.js"}}</script>"""
CLASSIFY = """async ({ file, pictures }) => {
  const { load, preprocess, read, run } = await import("./classifier.js");
  const model = await load(file, "litert/wasm/");
  const found = [];
  for (const image of pictures) {
    found.push(read(await run(model, "serving_default", { image: preprocess(image) })));
  }
  return found;
}"""
TEACH = """async ({ file, picture, given, state, weights, steps }) => {
  const { load, preprocess, read, run } = await import("./classifier.js");
  const model = await load(file, "litert/wasm/");
  const mapped = (named, change) => Object.fromEntries(Object.entries(named).map(([n, v]) => [n, change(v)]));
  const arrays = (named) => mapped(named, (v) => Float32Array.from(v));
  const image = preprocess(picture);
  const { features } = await run(model, "features", { image });
  const losses = [];
  let held = arrays(state);
  for (let step = 0; step < steps; step++) {
    const { loss, ...next } = await run(model, "train", { ...arrays(given), ...held });
    losses.push(loss[0]);
    held = next;
  }
  const kept = Object.fromEntries(weights.map((name) => [name, held[name]]));
  const { label, scores } = read(await run(model, "classify", { image, ...kept }));
  const last = mapped(held, (v) => Array.from(v));
  return { features: Array.from(features), losses, state: last, label, scores };
}"""


@pytest.fixture(scope="module")
def chromium():
    with web_page.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def reports(model, tmp_path_factory):
    """A float32 file, one that takes and gives uint8, and one that trains."""
    folder = tmp_path_factory.mktemp("files")
    options = {"labels": LABELS, "input_range": (0, 255)}
    sgd = keras.optimizers.SGD(0.05, momentum=0.9)
    return {
        "float32": export.to_tflite(model, folder / "float32.tflite", **options),
        "uint8": export.to_tflite(
            model, folder / "uint8.tflite", precision="int8", io="uint8", representative_data=images()[0],
            **options,
        ),
        "train": export.to_trainable_tflite(
            model, folder / "train.tflite", optimizer=sgd, batch=12, **options
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def litert(reports, tmp_path_factory):
    """The files of LiteRT.js, as `to_web` brings them."""
    return export.to_web(reports["float32"], tmp_path_factory.mktemp("web") / "page") / "litert"


def evaluated(chromium, litert, folder, report, script, given):
    """What a script gives on a page that serves the client code and the file."""
    shutil.copytree(litert, folder / "litert")
    shutil.copy(report.path, folder)
    (folder / "classifier.js").write_text(client_code(report, "javascript"), encoding="utf-8")
    (folder / "index.html").write_text(PAGE)
    with web_page.served(folder) as address:
        page = chromium.new_page()
        try:
            page.goto(address)
            return page.evaluate(script, {"file": Path(report.path).name, **given})
        finally:
            page.close()


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_pictures_are_classified(chromium, litert, reports, model, tmp_path, kind):
    report, pictures = reports[kind], np.round(images(6, seed=4)[0])
    given = {"pictures": [picture.ravel().tolist() for picture in pictures]}
    found = evaluated(chromium, litert, tmp_path, report, CLASSIFY, given)
    run = Interpreter(report.path).get_signature_runner()
    (image,), (scores,) = report.inputs, report.outputs
    for picture, got in zip(pictures, found):
        if kind == "float32":
            wanted = run(image=picture[None])["scores"][0]
        else:
            stored = np.clip(np.round(picture[None] / image.scale + image.zero_point), 0, 255).astype("uint8")
            wanted = (run(image=stored)["scores"][0].astype("float64") - scores.zero_point) * scores.scale
        np.testing.assert_allclose(got["scores"], wanted, atol=1e-5 if kind == "float32" else 2 / 256)
        assert got["label"] == LABELS[np.argmax(got["scores"])]
        np.testing.assert_allclose(got["scores"], model.predict(picture[None], verbose=0)[0], atol=0.05)


def test_a_head_is_taught(chromium, litert, reports, tmp_path):
    report = reports["train"]
    pictures, classes = images(12, seed=4)
    file = Interpreter(report.path)
    signatures = {name: file.get_signature_runner(name) for name in report.signatures}
    features = np.concatenate([signatures["features"](image=p[None])["features"] for p in pictures])
    target, rate = np.eye(3, dtype="float32")[(classes + 1) % 3], np.float32([0.05])
    state = dict(np.load(Path(report.path).with_suffix(".npz")))
    del state["digest"]
    weights = [entry.name for entry in report.weights]
    batch = {"features": features, "target": target, "learning_rate": rate}
    given = {
        "picture": pictures[0].ravel().tolist(), "steps": 5, "weights": weights,
        "given": {name: value.ravel().tolist() for name, value in batch.items()},
        "state": {name: value.ravel().tolist() for name, value in state.items()},
    }  # fmt: skip
    found = evaluated(chromium, litert, tmp_path, report, TEACH, given)
    np.testing.assert_allclose(found["features"], features[0], atol=1e-4)
    for loss in found["losses"]:
        state = signatures["train"](**batch, **state)
        np.testing.assert_allclose(loss, state.pop("loss")[0], rtol=1e-4)
    for name, value in state.items():
        np.testing.assert_allclose(found["state"][name], value.ravel(), rtol=1e-3, atol=1e-5)
    kept = {name: state[name] for name in weights}
    wanted = signatures["classify"](image=pictures[:1], **kept)["scores"][0]
    np.testing.assert_allclose(found["scores"], wanted, atol=1e-4)
    assert found["label"] == LABELS[wanted.argmax()]
