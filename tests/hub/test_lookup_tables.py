"""Lookup tables as constants: every kind gives what TensorFlow's table gives, and nothing reads a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasft.hub import lookup_tables
from kerasft.hub.graph_function import GraphFunction
from kerasft.hub.hub_stage import HubStage
from kerasft.hub.load import load_backbone

MANY = [f"word {i}" for i in range(2000)]


table_initializer = tf.lookup.KeyValueTensorInitializer


def table_of(keys, values, default, key_dtype, value_dtype):
    return tf.lookup.StaticHashTable(table_initializer(keys, values, key_dtype, value_dtype), default)


def changeable(content, default=8):
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default)
    if content:
        table.insert(tf.constant([*content]), tf.constant([*content.values()], tf.int64))
    return table


TABLES = {
    "strings": lambda: table_of(MANY, range(2000), 3, tf.string, tf.int64),
    "strings_to_int32": lambda: table_of(["", "é", "word 3"], [5, 6, 7], 0, tf.string, tf.int32),
    "integers": lambda: table_of([9, -(2**62), 4], [1, 2, 3], 0, tf.int64, tf.int64),
    "int32": lambda: table_of([9, -4], [1, 2], 0, tf.int32, tf.int32),
    "to_numbers": lambda: table_of(["word 3", "word 7"], [0.5, 7.0], -1.0, tf.string, tf.float32),
    "empty": lambda: changeable({}),
    "vocabulary": lambda: tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(MANY, tf.range(2000, dtype=tf.int64)), 5
    ),
    "vocabulary_of_integers": lambda: tf.lookup.StaticVocabularyTable(
        table_initializer([4, 9], [0, 1], tf.int64, tf.int64), 5, tf.int64
    ),
    "can_change": lambda: changeable({"word 1": 3, "é": 4}),
}


class Looks(tf.Module):
    """Keys of the shape (batch, 3), what a table has for them, and its size, times a weight."""

    def __init__(self, table, use=None):
        self.table, self.weight = table, tf.Variable(2.0, name="weight")
        self.use = use or (lambda table, keys: tf.cast(table.lookup(keys), tf.float32))
        spec = tf.TensorSpec((None, 3), table.key_dtype, name="keys")
        self.__call__ = tf.function(self.apply, input_signature=[spec])

    def apply(self, keys):
        return self.use(self.table, keys) * self.weight + tf.cast(self.table.size(), tf.float32)


def written(module, folder):
    tf.saved_model.save(module, str(folder / "model"))
    return str(folder / "model")


@pytest.mark.parametrize("kind", TABLES)
def test_a_search_gives_what_the_table_gives(kind, tmp_path):
    module = Looks(TABLES[kind]())
    path = written(module, tmp_path)
    texts = [
        "word 0",
        "word 3",
        "word 7",
        "word 1999",
        "word 2000",
        "",
        "é",
        "e\u0301",
        b"\xff\x00",
        "Word 3",
        " ",
        "日",
    ]
    numbers = [9, 4, -4, -(2**62), 0, 1, 2**62, 5, 6, 7, -9, 10]
    if module.table.key_dtype == tf.int32:
        numbers = [n % 11 - 5 for n in numbers]
    keys = texts if module.table.key_dtype == tf.string else numbers
    keys = tf.reshape(tf.constant(keys, module.table.key_dtype), (4, 3))
    expected = tf.saved_model.load(path)(keys)
    assert len(np.unique(expected)) > (kind != "empty")
    model = load_backbone(path)
    np.testing.assert_array_equal(model(keys), expected)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(keys), expected)


def mapped(table, keys):
    return tf.map_fn(lambda key: tf.cast(table.lookup(key), tf.float32), keys, fn_output_signature=tf.float32)


def changed(table, keys):
    table.insert(keys, tf.ones_like(keys, tf.int64))
    return tf.cast(table.lookup(keys), tf.float32)


@pytest.mark.parametrize(
    ("kind", "use", "operation"),
    [("strings", mapped, "While"), ("can_change", changed, "LookupTableInsertV2")],
)
def test_what_is_more_than_a_look_up_is_refused(kind, use, operation, tmp_path):
    path = written(Looks(TABLES[kind](), use), tmp_path)
    with pytest.raises(ValueError, match=rf"a resource that is no variable by '\w*{operation}'.*Dataset.map"):
        load_backbone(path)


def test_vectors_as_values_are_refused(tmp_path):
    table = changeable({"a": [1, 2]}, [0, 0])
    module = Looks(table, lambda table, keys: tf.cast(table.lookup(keys), tf.float32)[..., 0])
    with pytest.raises(ValueError, match="holds vectors, which can't"):
        load_backbone(written(module, tmp_path))


def test_two_keys_of_one_hash_are_refused(monkeypatch, tmp_path):
    path = written(Looks(TABLES["strings"]()), tmp_path)
    monkeypatch.setattr(lookup_tables, "_MOST_CODES", 1999)
    with pytest.raises(ValueError, match=r"holds the keys b'word \d+' and b'word \d+', of one hash"):
        load_backbone(path)


def test_a_keras_file_whose_graph_fills_a_table_from_a_file_is_refused(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb")
    with tf.Graph().as_default() as graph:
        keys = tf.compat.v1.placeholder(tf.string, (None,), "x0")
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        filled = tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(words), key_index=-2, value_index=-1
        )
        with tf.control_dependencies([filled]):
            found = tf.raw_ops.LookupTableFindV2(
                table_handle=table, keys=keys, default_value=tf.constant(-1, tf.int64)
            )
        tf.ensure_shape(found, [None], "y0")
    function = GraphFunction(graph.as_graph_def().SerializeToString(), ("x0:0",), ("y0:0",))
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, HubStage(function, [], ["string"])(inputs))
    assert list(model(tf.constant(["b", "c"]))) == [1, -1]
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"not known to be safe: .*'InitializeTableFromTextFileV2'"):
        keras.models.load_model(tmp_path / "model.keras")
