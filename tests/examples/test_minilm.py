"""all-MiniLM-L6-v2 against PyTorch's BERT: see tests/data/make_minilm_reference.py."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from kerasft.examples import download, minilm

import kerasft.hub
from kerasft import find_stages
from kerasft.text import TextRule

REFERENCE = np.load(Path(__file__).parent.parent / "data" / "minilm_reference.npz")
IDS, MASK = REFERENCE["ids"], REFERENCE["mask"]
BATCH = {"input_word_ids": IDS, "input_mask": MASK, "input_type_ids": np.zeros_like(IDS)}
BLOCKS = ["embeddings", *(f"encoder_layer_{i}" for i in range(6))]

with_weights = pytest.mark.skipif(
    not (download.cache_folder() / minilm._WHEEL).is_file(), reason="the weights are not in the cache folder"
)


@pytest.fixture(scope="module")
def encoder():
    return minilm.build_minilm()


@with_weights
def test_outputs_equal_those_of_pytorch(encoder):
    found = encoder.predict(BATCH, verbose=0)
    np.testing.assert_allclose(found["default"], REFERENCE["embeddings"], atol=1e-5)
    np.testing.assert_array_equal(found["pooled_output"], found["default"])
    layers = np.stack(found["encoder_outputs"])[:, :, 0]
    np.testing.assert_allclose(layers, REFERENCE["first_tokens"][1:], atol=1e-4)
    np.testing.assert_array_equal(found["sequence_output"], found["encoder_outputs"][-1])


@with_weights
def test_the_saved_model_gives_the_same_and_is_cut_into_its_layers(encoder, tmp_path):
    path = minilm.write_saved_model(tmp_path / "minilm")
    loaded = tf.saved_model.load(str(path))
    found = loaded({name: tf.constant(ids) for name, ids in BATCH.items()}, training=False)
    np.testing.assert_allclose(found["default"], REFERENCE["embeddings"], atol=1e-5)
    shapes = {name: IDS.shape[1:] for name in BATCH}
    backbone = kerasft.hub.load_backbone(path, input_shape=shapes, output="default")
    np.testing.assert_allclose(backbone.predict(BATCH, verbose=0), REFERENCE["embeddings"], atol=1e-5)
    assert [stage.name for stage in find_stages(backbone)] == BLOCKS


@with_weights
def test_the_vocabulary_gives_the_ids_of_hugging_face(tmp_path):
    rule = TextRule.of(minilm.write_vocabulary(tmp_path / "vocab.txt"), IDS.shape[1])
    ids, mask, types = rule.tokenizer()(REFERENCE["sentences"])
    np.testing.assert_array_equal(ids, IDS)
    np.testing.assert_array_equal(mask, MASK)
    assert rule.lower_case and len(rule.words) == 30522 and not np.any(types)


def test_random_weights_have_the_same_layers():
    model = minilm.build_minilm(weights=None, length=8)
    assert [stage.name for stage in find_stages(model)][:7] == BLOCKS
    assert model.output["sequence_output"].shape == (None, 8, 384)
    with pytest.raises(ValueError, match="sentences"):
        minilm.build_minilm(weights="imagenet")
    with pytest.raises(ValueError, match="512"):
        minilm.build_minilm(length=513, weights=None)


def safetensors_file(**arrays):
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        begin = len(content)
        content += array.tobytes()
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, len(content)]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def test_safetensors_are_read():
    a, b = np.arange(6, dtype="float32").reshape(2, 3), np.arange(3)
    found = minilm.read_safetensors(io.BytesIO(safetensors_file(b=b, a=a)))
    assert set(found) == {"a"}
    np.testing.assert_array_equal(found["a"], a)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:20], lambda c: b"", lambda c: b"\xff" * 30]
)
def test_damaged_safetensors_are_refused(damage):
    content = safetensors_file(a=np.zeros(6, "float32"))
    with pytest.raises(ValueError, match="damaged"):
        minilm.read_safetensors(io.BytesIO(damage(content)))


def test_tensors_that_do_not_fit_are_named(tmp_path, monkeypatch):
    path = tmp_path / "wheel.whl"
    with zipfile.ZipFile(path, "w") as file:
        tensors = {"embeddings.word_embeddings.weight": np.zeros((3, 384), "float32")}
        file.writestr(minilm._INSIDE + "model.safetensors", safetensors_file(**tensors))
    monkeypatch.setattr(minilm, "wheel", lambda: path)
    with pytest.raises(ValueError, match="shape"):
        minilm.build_minilm()
