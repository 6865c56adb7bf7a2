"""A small text encoder in the form of TF Hub's BERT, its vocabulary, and texts that it can learn."""

import keras
import numpy as np
from kerasft.export import to_saved_model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "the", "very", "##ly", "!"]
NAMES = ("input_word_ids", "input_mask", "input_type_ids")


def encoder_model(rows=12, width=8, blocks=2, length=None, sequence=True):
    """Embeddings and a few dense blocks."""
    keras.utils.set_random_seed(0)
    ids, mask, types = (keras.Input((length,), dtype="int32", name=name) for name in NAMES)
    x = keras.layers.Embedding(rows, width, name="word_embeddings")(ids)
    x = keras.layers.Add(name="sum")([x, keras.layers.Embedding(2, width, name="type_embeddings")(types)])
    for i in range(blocks):
        x = keras.layers.Dense(width, activation="tanh", name=f"layer_{i}_dense")(x)
    pooled = keras.layers.GlobalAveragePooling1D(name="pooler")(x, mask=mask)
    outputs = {"pooled_output": pooled, **({"sequence_output": x} if sequence else {})}
    return keras.Model(dict(zip(NAMES, (ids, mask, types))), outputs, name="encoder")


def write_encoder(folder, **options):
    """The encoder as a SavedModel, with its vocabulary beside it."""
    path = to_saved_model(encoder_model(**options), folder / "encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


def texts(count=60):
    """Pairs of a text and its label."""
    rng = np.random.default_rng(0)
    fill = ["film", "a", "the", "very", "unheard", "!"]
    rows = []
    for i in range(count):
        word, label = (("good", "yes"), ("bad", "no"))[i % 2]
        others = rng.choice(fill, rng.integers(2, 7)).tolist()
        rows.append((" ".join([*others, word, *rng.choice(fill, 2).tolist(), str(i)]), label))
    return rows


def write_table(path, rows=None):
    """A CSV file of texts."""
    lines = ["text,label", *(f'"{text}",{label}' for text, label in rows or texts())]
    path.write_text("\n".join(lines) + "\n")
    return path
