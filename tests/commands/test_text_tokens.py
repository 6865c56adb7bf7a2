"""What makes an encoder's inputs of strings."""

import json

import numpy as np
import pytest
import small_texts
import tensorflow as tf

from kerasft.commands.settings import TextSettings
from kerasft.commands.text_classifier import build_text_classifier, is_preset, load_encoder
from kerasft.commands.text_task import write_from_strings
from kerasft.commands.text_tokens import PreprocessorTokens, counted, roles_of
from kerasft.data import load_texts
from kerasft.text import TextRule

RULE = TextRule(tuple(small_texts.WORDS), length=7)


def test_inputs_by_their_names():
    assert roles_of(small_texts.NAMES) == dict(zip(("ids", "mask", "types"), small_texts.NAMES))
    assert roles_of(["segment_ids", "token_ids"]) == {"ids": "token_ids", "types": "segment_ids"}
    assert roles_of(["anything"]) == {"ids": "anything"}
    with pytest.raises(ValueError, match="'pixels', 'token_ids'.*padding_mask"):
        roles_of(["pixels", "token_ids"])


@pytest.fixture
def preprocessor(tmp_path):
    module = tf.Module()
    tokenizer = RULE.tokenizer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(texts):
        return dict(zip(small_texts.NAMES, tokenizer(texts)))

    module.__call__ = call
    tf.saved_model.save(module, str(tmp_path / "preprocessor"))
    return str(tmp_path / "preprocessor")


def test_a_second_saved_model(tmp_path, preprocessor):
    encoder = small_texts.write_encoder(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ValueError, match="--vocab vocab.txt, or its preprocessor"):
        load_encoder(TextSettings(str(encoder), tmp_path / "out"))
    model, tokens = load_encoder(TextSettings(str(encoder), tmp_path / "out", preprocessor=preprocessor))
    assert tokens.length == 7
    found = tokens(tf.constant(["a good film", "bad"]))
    for name, ids in zip(small_texts.NAMES, RULE.tokenizer()(["a good film", "bad"])):
        np.testing.assert_array_equal(found[name], ids)
    assert build_text_classifier(model, tokens, 3).output_shape == (None, 3)
    with pytest.raises(ValueError, match="and the backbone takes more"):
        PreprocessorTokens(preprocessor, ["more"], trust=False)


def test_the_mask_decides_which_tokens_are_averaged(tmp_path):
    encoder = small_texts.write_encoder(tmp_path)
    settings = TextSettings(str(encoder), tmp_path / "out", vocabulary=str(tmp_path / "vocab.txt"), length=7)
    model, tokens = load_encoder(settings)
    inputs = tokens(tf.constant(["a good film"]))
    vectors = model.predict_on_batch(inputs)
    classifier = build_text_classifier(model, tokens, 2)
    head = classifier.get_layer("scores")
    mean = vectors[0, :5].mean(0)  # [CLS] a good film [SEP]
    logits = mean @ head.get_weights()[0] + head.get_weights()[1]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(classifier.predict_on_batch(inputs)[0], expected, rtol=1e-5)


def test_a_pooled_output_serves_where_there_are_no_vectors_of_tokens(tmp_path):
    encoder = small_texts.write_encoder(tmp_path, sequence=False)
    model, tokens = load_encoder(TextSettings(str(encoder), tmp_path / "out", length=7))
    assert model.output_shape == (None, 8)
    assert build_text_classifier(model, tokens, 2).output_shape == (None, 2)


def test_too_many_tokens_are_refused(tmp_path):
    encoder = small_texts.write_encoder(tmp_path, length=6)
    with pytest.raises(ValueError, match=r"6|tokens"):
        load_encoder(TextSettings(str(encoder), tmp_path / "out", length=7))


def test_cut_and_unknown_are_counted(tmp_path):
    data = load_texts(small_texts.write_table(tmp_path / "texts.csv"))
    encoder = small_texts.write_encoder(tmp_path)
    _, tokens = load_encoder(TextSettings(str(encoder), tmp_path / "out", length=9))
    rows = [[w for w in text.replace("!", " ! ").split()] for text, _ in small_texts.texts()]
    cut = sum(len(row) > 7 for row in rows)
    unknown = sum(word not in small_texts.WORDS for row in rows for word in row)
    total = sum(map(len, rows))
    assert counted(data, tokens) == [
        f"{cut:,} of 60 texts have more than 9 tokens: what is beyond is cut off.",
        f"{unknown:,} of {total:,} tokens are not in the vocabulary ({unknown / total:.1%}).",
    ]


def test_a_preset_of_kerashub_brings_its_own_tokenizer(tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    tokenizer = keras_hub.models.BertTokenizer([*small_texts.WORDS, "[MASK]"], lowercase=True)
    preset = tmp_path / "preset"
    keras_hub.models.BertBackbone(
        vocabulary_size=13,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    ).save_to_preset(preset)
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16).save_to_preset(preset)
    assert is_preset(str(preset)) and not is_preset(str(tmp_path))
    model, tokens = load_encoder(TextSettings(str(preset), tmp_path / "out", length=7))
    found = tokens(tf.constant(["a good film", "bad"]))
    np.testing.assert_array_equal(found["token_ids"], RULE.tokenizer()(["a good film", "bad"])[0])
    classifier = build_text_classifier(model, tokens, 2)
    assert classifier.predict_on_batch(found).shape == (2, 2)
    (tmp_path / "out").mkdir()
    write_from_strings(
        classifier, tokens, tmp_path / "saved", tf.data.Dataset.from_tensors((["a good film"], [0]))
    )
    tokens.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "text.json").read_text())["length"] == 7
