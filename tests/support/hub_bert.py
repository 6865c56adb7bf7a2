"""A small BERT as TF Hub's are written: SavedModels of tf_keras, whose mask reads the embeddings' shape."""

import numpy as np
import tensorflow as tf
import tf_keras

layers = tf_keras.layers
NAMES = ("input_word_ids", "input_mask", "input_type_ids")


class SelfAttentionMask(layers.Layer):
    """The mask of a batch of sequences, of shape (batch, length, length)."""

    def call(self, inputs, to_mask):
        shape, length = tf.shape(inputs), tf.shape(to_mask)[1]
        to_mask = tf.cast(tf.reshape(to_mask, [shape[0], 1, length]), inputs.dtype)
        return tf.ones([shape[0], shape[1], 1], inputs.dtype) * to_mask


class PositionEmbedding(layers.Layer):
    """As many rows of a table as the sequence is long."""

    def build(self, shape):
        self.table = self.add_weight("embeddings", (16, shape[-1]))
        super().build(shape)

    def call(self, x):
        return tf.broadcast_to(self.table[: tf.shape(x)[1]], tf.shape(x))


class EncoderBlock(layers.Layer):
    """Attention and two dense layers, each with a shortcut and a normalization."""

    def build(self, shape):
        width = shape[-1]
        self.attention = layers.MultiHeadAttention(2, width // 2, dropout=0.1, name="self_attention")
        self.first_norm = layers.LayerNormalization(name="self_attention_layer_norm")
        self.intermediate = layers.EinsumDense(
            "abc,cd->abd", output_shape=(None, 2 * width), bias_axes="d", name="intermediate"
        )
        self.last = layers.EinsumDense(
            "abc,cd->abd", output_shape=(None, width), bias_axes="d", name="output"
        )
        self.last_norm = layers.LayerNormalization(name="output_layer_norm")
        self.dropout = layers.Dropout(0.1)
        super().build(shape)

    def call(self, x, mask):
        x = self.first_norm(x + self.dropout(self.attention(query=x, value=x, attention_mask=mask)))
        return self.last_norm(x + self.dropout(self.last(tf.nn.gelu(self.intermediate(x), approximate=True))))


def bert(depth=3, width=8):
    """The network with random weights, inputs and outputs in dicts."""
    given = {name: layers.Input((None,), dtype=tf.int32, name=name) for name in NAMES}
    words = layers.Embedding(20, width, name="word_embeddings")(given["input_word_ids"])
    types = layers.Embedding(2, width, name="type_embeddings")(given["input_type_ids"])
    x = layers.Add()([words, PositionEmbedding(name="position_embedding")(words), types])
    x = layers.Dropout(0.1)(layers.LayerNormalization(name="embeddings/layer_norm")(x))
    mask = SelfAttentionMask(name="self_attention_mask")(x, given["input_mask"])
    outputs = []
    for i in range(depth):
        x = EncoderBlock(name=f"transformer/layer_{i}")(x, mask)
        outputs.append(x)
    first = layers.Lambda(lambda y: y[:, 0])(x)
    pooled = layers.Dense(width, activation="tanh", name="pooler_transform")(first)
    named = {"default": pooled, "pooled_output": pooled, "sequence_output": x, "encoder_outputs": outputs}
    model = tf_keras.Model(given, named)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


class Module(tf.Module):
    """The same behind the `__call__` of a module."""

    def __init__(self):
        self.model = bert()
        specs = {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in NAMES}
        self.__call__ = tf.function(self.apply)
        for training in (False, True):
            self.__call__.get_concrete_function(specs, training)

    def apply(self, inputs, training=False):
        return self.model(inputs, training=training)


def tokens(batch, length, seed=0):
    """Inputs: word, mask and type of each token."""
    rng = np.random.default_rng(seed)
    return {
        name: tf.constant(rng.integers(0, 20 if name == "input_word_ids" else 2, (batch, length)), tf.int32)
        for name in NAMES
    }
