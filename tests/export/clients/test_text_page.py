"""Texts in the browser: the tokenizer against Hugging Face's, and the page against LiteRT in Python."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import web_page
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients import browser
from tokenizers import BertWordPieceTokenizer
from wordpiece_cases import AWKWARD, VOCABULARY, needs_whole_vocabulary, whole_vocabulary

from kerasft import export

WEB = Path(browser.__file__).parent / "web"
RUN = """
import { readFileSync } from "node:fs";
import { tokenizer } from "./wordpiece.mjs";
const { rule, texts } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const tokenize = tokenizer(rule);
const found = texts.map(tokenize);
for (const f of found) for (const name of ["ids", "mask", "types"]) f[name] = [...f[name]];
console.log(JSON.stringify(found));
"""
IN_A_PAGE = """async ({ rule, texts }) => {
  const { tokenizer } = await import("./wordpiece.js");
  return JSON.stringify(texts.map(tokenizer(rule)).map((f) => ({ ...f, ids: [...f.ids], mask: [...f.mask],
    types: [...f.types] })));
}"""


def in_javascript(folder, text, texts):
    """What the page's tokenizer makes of texts, in Node.js or, without it, in Chromium."""
    given = {"rule": text.to_dict(), "texts": texts}
    if node := shutil.which("node"):
        shutil.copyfile(WEB / "wordpiece.js", folder / "wordpiece.mjs")
        (folder / "run.mjs").write_text(RUN)
        (folder / "given.json").write_text(json.dumps(given))
        command = [node, str(folder / "run.mjs"), str(folder / "given.json")]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    shutil.copyfile(WEB / "wordpiece.js", folder / "wordpiece.js")
    (folder / "index.html").write_text("<!doctype html>")
    with web_page.chromium() as chromium, web_page.served(folder) as address:
        page = chromium.new_page()
        page.goto(address)
        return json.loads(page.evaluate(IN_A_PAGE, given))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("length", [4, 512])
def test_the_tokenizer_in_javascript(tmp_path, lower, length):
    text = export.Text(VOCABULARY, length, lower_case=lower, mask="m", types="t")
    made = in_javascript(tmp_path, text, AWKWARD)
    other = BertWordPieceTokenizer({t: i for i, t in enumerate(VOCABULARY)}, lowercase=lower)
    other.enable_truncation(length)
    other.enable_padding(length=length)
    for given, mine in zip(AWKWARD, made, strict=True):
        python = text.explain(given)
        assert (mine["tokens"], mine["ids"]) == (list(python.tokens), list(python.ids)), given
        assert (mine["unknown"], mine["cut"]) == (list(python.unknown), python.cut), given
        if "[SEP]" not in given:  # which is a mark there
            found = other.encode(given)
            assert (mine["ids"], mine["mask"], mine["types"]) == (
                found.ids,
                found.attention_mask,
                found.type_ids,
            )
    assert any(f["cut"] >= 90 for f in made) and any(f["unknown"] for f in made)


@pytest.mark.slow
@needs_whole_vocabulary
def test_a_whole_vocabulary(tmp_path):
    vocabulary = whole_vocabulary()
    words = [token for token in vocabulary if not token.startswith("[")]
    made = in_javascript(tmp_path, export.Text(vocabulary, 16), words)
    other = BertWordPieceTokenizer({t: i for i, t in enumerate(vocabulary)}, lowercase=True)
    other.enable_truncation(16)
    other.enable_padding(length=16)
    assert [m["ids"] for m in made] == [f.ids for f in other.encode_batch(words)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The report on a classifier of short texts."""
    keras.utils.set_random_seed(0)
    text = export.Text(VOCABULARY, 8, ids="ids", mask="mask")
    inputs = {name: keras.Input((8,), dtype="int32", name=name) for name in ("ids", "mask")}
    x = keras.layers.Embedding(len(VOCABULARY), 6)(inputs["ids"])
    x = x * keras.ops.expand_dims(keras.ops.cast(inputs["mask"], "float32"), -1)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    texts, sides = ["the film is good", "a bad film", "good", "bad, bad"] * 4, np.array([1, 0, 1, 0] * 4)
    model.fit(text.encode(texts), sides, epochs=15, verbose=0)
    path = tmp_path_factory.mktemp("exported") / "model.tflite"
    return export.to_tflite(model, path, text=text, labels=["bad", "good"], holdout=(texts, sides))


def in_python(report, text):
    """The scores that LiteRT gives for a text."""
    run = Interpreter(report.path, num_threads=1).get_signature_runner()
    return run(**report.text.encode([text]))["scores"][0]


def test_the_page(exported, tmp_path):
    folder = tmp_path / "page"
    with web_page.chromium() as chromium:
        export.to_web(exported, folder)
        assert json.loads((folder / "model.json").read_text())["text"]["vocabulary"] == VOCABULARY
        with web_page.served(folder) as address:
            page = chromium.new_page()
            failures: list[str] = []
            page.on("pageerror", lambda error: failures.append(str(error)))
            page.goto(address)
            page.wait_for_selector("body[data-state=ready]")
            for text, remarks in [
                ("The film is GOOD!", []),
                ("déjà vu: a bad film", ["does not have “:”"]),
                ("good " * 9, ["too long: the last 3 of its 9 tokens"]),
                ("", ["no words"]),
                ("🙂 zzz zzz", ["does not have “zzz”"]),
            ]:
                page.fill("#text", text)
                page.click("#form button")
                page.wait_for_function("t => document.getElementById('results').dataset.text === t", arg=text)
                data = page.evaluate("() => ({ ...document.getElementById('results').dataset })")
                encoded = exported.text.explain(text)
                assert json.loads(data["ids"]) == list(encoded.ids)
                scores = in_python(exported, text)
                np.testing.assert_allclose(json.loads(data["scores"]), scores, atol=1e-5)
                assert page.inner_text("#classes li .label") == ["bad", "good"][int(scores.argmax())]
                shown = page.inner_text("#remarks")
                assert all(remark in shown for remark in remarks) and bool(shown) is bool(remarks)
            page.fill("#text", "good")
            page.press("#text", "Enter")
            page.wait_for_function("() => document.getElementById('results').dataset.text === 'good'")
            assert failures == []


def test_a_pack_holds_texts_and_their_ids(exported, tmp_path):
    texts = ["The film is good", "", "unheard of 東京"]
    found = export.to_pack(exported, tmp_path / "pack.zip", golden=texts)
    assert found.ok and found.cases == 3 and export.verify_pack(tmp_path / "pack.zip").ok
    with zipfile.ZipFile(tmp_path / "pack.zip") as pack:
        manifest = json.loads(pack.read("manifest.json"))
        assert pack.read("vocabulary.txt").decode().split("\n")[:-1] == VOCABULARY
        assert [case["text"] for case in manifest["cases"]] == texts
        rule = {**manifest["text"], "vocabulary": pack.read("vocabulary.txt").decode().splitlines()}
        for text, case in zip(texts, manifest["cases"], strict=True):
            stored = {
                n: np.frombuffer(pack.read(a["file"]), "<i4").reshape(a["shape"])
                for n, a in case["inputs"].items()
            }
            made = export.Text(**rule).encode([text])
            assert stored.keys() == made.keys()
            assert all(np.array_equal(stored[name], made[name]) for name in made)
    assert manifest["text"]["lower_case"] is True and manifest["text"]["sequence_length"] == 8
    ids = exported.text.encode(texts)
    export.to_pack(exported, tmp_path / "ids.zip", golden=ids)  # as before
    with zipfile.ZipFile(tmp_path / "ids.zip") as pack:
        assert [case["text"] for case in json.loads(pack.read("manifest.json"))["cases"]] == [None] * 3
    with pytest.raises(TypeError, match="Text 1: a text is a string; received 5"):
        export.to_pack(exported, tmp_path / "never.zip", golden=["a", 5])


def test_texts_need_a_rule(exported, tmp_path):
    import dataclasses

    plain = dataclasses.replace(exported, text=None)
    with pytest.raises(ValueError, match=r"does not say how a text becomes.*text=kerasft\.export\.Text"):
        export.to_pack(plain, tmp_path / "never.zip", golden=["a"])
    other = dataclasses.replace(exported, text=export.Text(VOCABULARY, 9, mask="mask"))
    with pytest.raises(ValueError, match=r"int32 ids of the shape \(1, 9\)"):
        export.to_web(other, tmp_path / "page")
