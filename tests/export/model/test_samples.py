"""Data of every kind as named samples, and the range that a graph expects."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.errors import ExportError
from kerasft.export.model.samples import (
    batches,
    endless,
    expected_of,
    named_inputs,
    of_one_output,
    outputs_of,
    random_samples,
    rows,
    weighted,
)

X, Y = np.arange(12, dtype="float32").reshape(6, 2), np.arange(6)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return X[2 * i : 2 * i + 2], Y[2 * i : 2 * i + 2]


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        ((X, Y), True),
        ((X, Y, np.ones(6)), True),
        (X, False),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), True),
        (tf.data.Dataset.from_tensor_slices((X, Y, np.ones(6))).batch(4), True),
        (tf.data.Dataset.from_tensor_slices(X).batch(4), False),
        (Batches(), True),
    ],
)
def test_batches_of_every_kind(data, labelled):
    pairs = list(batches(data))
    np.testing.assert_array_equal(np.concatenate([np.asarray(x) for x, _ in pairs]), X)
    assert not endless(data)
    if labelled:
        assert np.concatenate([np.asarray(y) for _, y in pairs]).tolist() == Y.tolist()
    else:
        assert all(y is None for _, y in pairs)


def test_functions_are_called_for_each_pass_and_iterators_are_refused():
    def pairs():
        yield from ((X[i : i + 2], Y[i : i + 2]) for i in (0, 2, 4))

    def as_tflite_wants_them():
        yield from ([X[i : i + 1]] for i in range(6))

    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1)])
    for _ in range(2):
        assert np.concatenate([y for _, y in batches(pairs)]).tolist() == Y.tolist()
        for data in (pairs, as_tflite_wants_them):
            read = [row["x"] for inputs, _ in batches(data) for row in rows(named_inputs(model, inputs))]
            np.testing.assert_array_equal(np.concatenate(read), X)
    with pytest.raises(TypeError, match=r"a generator can be read once\. Give the function"):
        list(batches(pairs()))


def test_inputs_go_by_the_models_names():
    b, a = keras.Input((2,), name="b"), keras.Input((3,), name="a")
    out = keras.layers.Concatenate()([b, a])
    by_order, by_key = keras.Model([b, a], out), keras.Model({"a": a, "b": b}, out)
    x, z = np.zeros((4, 2)), np.ones((4, 3))
    for named in (named_inputs(by_order, [x, z]), named_inputs(by_key, {"b": x, "a": z, "more": x})):
        assert {k: (v.shape, v.dtype.name) for k, v in named.items()} == {
            "a": ((4, 3), "float32"), "b": ((4, 2), "float32"),
        }  # fmt: skip
        assert len(list(rows(named))) == 4
    with pytest.raises(ValueError, match=r"named \['a', 'b'\]; the data have \['a'\]"):
        named_inputs(by_key, {"a": z})
    with pytest.raises(ValueError, match="'b' has the shape"):
        named_inputs(by_order, [z, z])
    with pytest.raises(ValueError, match=r"inputs \['b', 'a'\]; the data have 1"):
        named_inputs(by_order, x)


def test_random_samples_are_of_a_fixed_seed_and_have_what_real_data_have():
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1)])
    values = np.concatenate([s["x"] for s in random_samples(model, {"x": (10.0, 20.0)}, 50)])
    assert values.min() == 10 and values.max() == 20 and len(np.unique(values)) > 80
    again = np.concatenate([s["x"] for s in random_samples(model, {"x": (10.0, 20.0)}, 50)])
    assert np.array_equal(values, again)
    free = np.concatenate([s["x"] for s in random_samples(model, {}, 16)])
    assert {(0.0, 0.0), (1.0, 1.0)} <= {tuple(row) for row in free.tolist()}


def test_made_up_token_ids_span_the_vocabulary_with_padding_and_others_are_masks():
    ids, mask = keras.Input((6,), dtype="int32", name="ids"), keras.Input((6,), dtype="int32", name="mask")
    embedded = keras.layers.Embedding(50, 2)(ids) * keras.ops.cast(mask[..., None], "float32")
    samples = random_samples(keras.Model([ids, mask], embedded), {}, 16)
    found = {name: np.concatenate([s[name] for s in samples]) for name in ("ids", "mask")}
    assert (found["ids"].min(), found["ids"].max()) == (0, 49) and len(np.unique(found["ids"])) > 20
    assert set(np.unique(found["mask"])) == {0, 1}
    padded = [s for s in samples if s["ids"][0, 0] and not s["ids"][0, -1] and not s["mask"][0, -1]]
    assert len(padded) >= 2
    pixels = keras.Input((4,), dtype="uint8", name="pixels")
    bytes_of = keras.Model(pixels, keras.layers.Rescaling(1 / 255)(pixels))
    values = np.concatenate([s["pixels"] for s in random_samples(bytes_of, {"pixels": (-9.5, 300)}, 16)])
    assert (values.min(), values.max()) == (0, 255) and len(np.unique(values)) > 20


def test_weights_come_with_their_samples():
    w = np.arange(6.0)
    for data in ((X, Y, w), tf.data.Dataset.from_tensor_slices((X, Y, w)).batch(4)):
        assert np.concatenate([np.asarray(weight) for _, _, weight in weighted(data)]).tolist() == w.tolist()
    assert [weight for _, _, weight in weighted((X, Y))] == [None]


def test_targets_of_one_output_as_keras_takes_them():
    y, rows = np.array([2, 0, 1]), np.eye(3)[[2, 0, 1]]
    for given in ([2, 0, 1], (2, 0, 1), {"scores": y}, [y], (y,), {"scores": [2, 0, 1]}, [np.int64(2), 0, 1]):
        ((_, targets, weights),) = weighted((X[:3], given, given))
        assert targets.tolist() == weights.tolist() == [2, 0, 1]
    assert of_one_output(rows.tolist()).tolist() == rows.tolist()
    assert of_one_output(["cat", "dog"]).tolist() == ["cat", "dog"]
    for several in ([y, y], {"a": y, "b": y}, (y, rows)):
        assert of_one_output(several) is several
    assert of_one_output(None) is None and of_one_output(y) is y


class Endless(Batches):
    num_batches = None

    def __getitem__(self, i):
        return super().__getitem__(i % 3)


def test_endless_data_are_known_and_read_as_they_are_needed():
    repeated = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).repeat()
    for data in (Endless(), repeated):
        assert endless(data)
        firsts = [np.asarray(x)[0, 0] for x, _ in itertools.islice(batches(data), 4)]
        assert firsts == [0.0, 4.0, 8.0, 0.0]
    for data in (repeated.take(2), None, X):
        assert not endless(data)


def test_inputs_and_their_dtypes_of_every_structure():
    b, a = keras.Input((2,), name="b", dtype="int32"), keras.Input((3,), name="a")
    y = keras.layers.Dense(1, name="y")(keras.ops.cast(b, "float32"))
    model = keras.Model([b, a], [keras.layers.Dense(2, name="z")(a), y])
    x, z = np.arange(8.0).reshape(4, 2), np.ones((4, 3))
    for given in ([x, z], (x, z), {"a": z, "b": x}):
        named = named_inputs(model, given)
        assert list(named) == ["b", "a"]
        assert (named["b"].dtype, named["a"].dtype) == (np.int32, np.float32)
        np.testing.assert_array_equal(named["b"], x)
    single = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1)])
    for given in (x, [x], {"x": x}, tf.constant(x)):
        assert named_inputs(single, given)["x"].shape == (4, 2)
    with pytest.raises(ValueError, match=r"named \['x'\]; the data have \['image'\]"):
        named_inputs(single, {"image": x})
    with pytest.raises(ValueError, match=r"'x' has the shape \(None, 2\), batch first; the data have \(2,\)"):
        named_inputs(single, x[0])


def test_what_the_model_gives_by_name_in_inference():
    inputs = keras.Input((2,), name="x")
    dropped = keras.layers.Dropout(0.9)(inputs)
    model = keras.Model(inputs, {"two": 2 * dropped, "minus": -dropped})
    samples = list(rows({"x": X + 1}))
    expected = expected_of(model, samples)
    assert len(expected) == 6 and set(expected[0]) == {"two", "minus"}
    for sample, said in zip(samples, expected):
        np.testing.assert_allclose(said["two"], 2 * sample["x"])
        np.testing.assert_allclose(outputs_of(model, sample)["minus"], -sample["x"])


def test_ragged_data_are_refused_and_batches_of_several_lengths_are_not():
    inputs = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(inputs, keras.layers.Embedding(9, 2)(inputs))
    ragged = tf.ragged.constant([[1, 2], [3]])
    with pytest.raises(ValueError, match=r"'ids' are ragged.* padded, value.to_tensor\(\), or in batches"):
        named_inputs(model, ragged)
    assert named_inputs(model, ragged.to_tensor())["ids"].tolist() == [[1, 2], [3, 0]]
    assert [named_inputs(model, np.ones((2, n)))["ids"].shape for n in (3, 5)] == [(2, 3), (2, 5)]


def test_inputs_and_labels_in_a_list_are_no_tuple():
    inputs = keras.Input((2,), name="x")
    with pytest.raises(
        ValueError, match=r"the data have 2. Inputs and labels come as a tuple, \(inputs, labels\)"
    ):
        named_inputs(keras.Model(inputs, keras.layers.Dense(1)(inputs)), [X, Y])


@pytest.mark.parametrize(
    "function", [lambda x: x - keras.ops.mean(x, 0), lambda x: keras.ops.sum(x, 0), keras.ops.sum]
)
def test_a_model_that_computes_across_samples_is_refused(function):
    inputs = keras.Input((2,), name="x")
    samples = [{"x": row[None].astype("float32")} for row in np.arange(6.0).reshape(3, 2)]
    with pytest.raises(
        ExportError, match="computes across the samples of a batch, or by chance: for 3 samples"
    ):
        expected_of(keras.Model(inputs, function(inputs)), samples, alone=True)
    along = keras.Model(inputs, inputs - keras.ops.mean(inputs, 1, keepdims=True))
    found = expected_of(along, samples, alone=True)
    np.testing.assert_allclose(np.concatenate([*map(_value, found)]), [[-0.5, 0.5]] * 3)


def _value(sample):
    (value,) = sample.values()
    return value
