"""Modules that take strings, as TF Hub's text embeddings do, for SavedModels that tests write."""

import numpy as np
import tensorflow as tf

WORDS = ["the", "cat", "sat", "on", "mat", "größe", "日本", "?"]
TEXTS = ["the cat sat on the mat", "", "unknown größe", "日本 ?", "Cat the", "   ", "on", "sat sat sat other"]


class Embedding(tf.Module):
    """The vectors of a text's words, added up and divided by the root of their number, and two Dense layers.

    TF Hub's nnlm-en-dim50 looks up so: one bucket for unknown words, and `safe_embedding_lookup_sparse`.

    Args:
        table: "file", "constants", "buckets" (three for words that are not known) or "hash" (no table).
        folder: Where the file of words is written.
    """

    def __init__(self, table, folder):
        rng = np.random.default_rng(1)
        self.table, buckets = None, {"buckets": 3}.get(table, 1)
        if table == "file":
            file = folder / "words.txt"
            file.write_text("\n".join(WORDS))
            index = tf.lookup.TextFileIndex
            words = tf.lookup.TextFileInitializer(
                str(file), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
            )
            self.table = tf.lookup.StaticHashTable(words, len(WORDS))
        elif table != "hash":
            words = tf.lookup.KeyValueTensorInitializer(WORDS, tf.range(len(WORDS), dtype=tf.int64))
            self.table = tf.lookup.StaticVocabularyTable(words, buckets)
        self.size = 32 if table == "hash" else len(WORDS) + buckets

        def variable(*shape, name):
            return tf.Variable(rng.normal(0, 0.5, shape).astype("float32"), name=name)

        self.embeddings = variable(self.size, 4, name="embeddings")
        self.first, self.second = variable(4, 3, name="first/kernel"), variable(3, 2, name="second/kernel")
        spec = tf.TensorSpec((None,), tf.string, name="sentences")
        self.__call__ = tf.function(self.apply, input_signature=[spec])

    def ids(self, words):
        return (
            tf.strings.to_hash_bucket_fast(words, self.size)
            if self.table is None
            else self.table.lookup(words)
        )

    def vectors(self, sentences):
        sentences = tf.strings.regex_replace(sentences, r"([?!])", r" \1 ")
        words = tf.strings.split(sentences).to_sparse()
        ids = tf.SparseTensor(words.indices, self.ids(words.values), words.dense_shape)
        return tf.nn.safe_embedding_lookup_sparse(self.embeddings, ids, combiner="sqrtn")

    def apply(self, sentences):
        x = self.vectors(sentences)
        return tf.matmul(tf.tanh(tf.matmul(x, self.first)), self.second)


class Padded(tf.Module):
    """Two texts, cut and padded to five ids; embeddings, a layer that reads a mask of them, and its mean."""

    def __init__(self):
        rng = np.random.default_rng(2)
        words = tf.lookup.KeyValueTensorInitializer(WORDS, tf.range(2, len(WORDS) + 2))
        self.table = tf.lookup.StaticHashTable(words, 1)

        def variable(*shape, name):
            return tf.Variable(rng.normal(0, 0.5, shape).astype("float32"), name=name)

        self.words = variable(len(WORDS) + 2, 4, name="embeddings/table")
        self.layers = [variable(4, 4, name=f"layer_{i}/kernel") for i in range(2)]
        spec = {name: tf.TensorSpec((None,), tf.string, name=name) for name in ("title", "body")}
        self.__call__ = tf.function(self.apply)
        for training in (False, True):
            self.__call__.get_concrete_function(spec, training)

    def apply(self, texts, training=False):
        ids = [
            self.table.lookup(tf.strings.split(tf.strings.lower(texts[k])).values) for k in ("title", "body")
        ]
        lengths = [tf.strings.split(texts[k]).row_lengths() for k in ("title", "body")]
        rows = [tf.RaggedTensor.from_row_lengths(i, n) for i, n in zip(ids, lengths, strict=True)]
        ids = tf.concat(rows, 1).to_tensor(0, shape=(None, 5))
        mask = tf.cast(ids > 0, tf.float32)[:, :, None]
        x = tf.gather(self.words, ids) * mask
        for kernel in self.layers:
            x += tf.nn.relu(tf.einsum("blw,wv->blv", x, kernel)) * mask
            x = tf.nn.dropout(x, 0.5) if training else x
        return tf.reduce_sum(x, 1) / (tf.reduce_sum(mask, 1) + 1.0)


TABLES = ("file", "constants", "buckets", "hash")
