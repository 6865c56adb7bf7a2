"""What is exported, checked before anything is converted."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.model.subject import Subject
from small_models import classifier, fitted, images


@pytest.fixture(scope="module")
def model():
    return fitted(classifier(), epochs=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a", "b"]}, "2 labels.*3 outputs"),
        ({"labels": ["a", "a", "b"]}, "unique; label 1 is 'a', and so is label 0"),
        ({"labels": ["a", " ", "b"]}, "none of them empty"),
        ({"labels": "abc"}, "list of names"),
        ({"labels": [0, 1, 2]}, "list of names"),
        ({"labels": []}, "0 labels.*3 outputs"),
        ({"normalization": (127, 128)}, "applied twice"),
        ({"input_range": (255, 0)}, r"\(lowest, highest\)"),
        ({"batch": 4}, "batch is 1, or None"),
        ({"holdout": np.zeros((0, 8, 8, 3))}, "holdout is empty"),
    ],
)
def test_mistakes(model, options, message):
    with pytest.raises(ValueError, match=message):
        Subject.of(model, **options)


def test_golden_inputs_are_of_the_holdout_or_in_the_range(model):
    x, y = images(40, 1)
    subject = Subject.of(model, holdout=(x, y), representative_data=images())
    places = list(subject.places)
    assert {0, 39, int(x.min((1, 2, 3)).argmin()), int(x.max((1, 2, 3)).argmax())} <= set(places)
    np.testing.assert_array_equal(np.concatenate([s["image"] for s in subject.samples]), x[places])
    expected = model.predict(x[places], verbose=0)
    np.testing.assert_allclose(np.concatenate([e["scores"] for e in subject.expected]), expected, atol=1e-6)
    assert max(s["image"].max() for s in Subject.of(model).samples) > 200  # as the Rescaling inside shows
    assert Subject.of(model, representative_data=images()).samples[0]["image"].shape == (1, 8, 8, 3)


def test_qualities_pair_predictions_of_one_pass(model):
    """The holdout comes in another order each time that it is read."""
    x, y = images(90, 1)
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(90, reshuffle_each_iteration=True).batch(40)
    subject = Subject.of(model, holdout=data)

    class Same:
        def __call__(self, named):
            return {"scores": model(named["image"], training=False).numpy()}

    class Wrong:
        def __call__(self, named):
            return {"scores": -model(named["image"], training=False).numpy()}

    files, reason = subject.measured({"same": (Same(), {}), "wrong": (Wrong(), {})})
    found = {name: measured.quality for name, measured in files.items()}
    assert reason == "" and files["same"].comparison.parity.samples == 90
    accuracy = np.mean(model.predict(x, verbose=0).argmax(1) == y)
    assert found["same"].agreement == 1 and found["same"].drop == 0 and found["same"].samples == 90
    assert found["same"].accuracy_model == pytest.approx(accuracy) and accuracy > 0.5
    assert found["wrong"].agreement == 0
    for unlabelled, why in ((x, "no labels"), ((x, np.full((90, 3), 0.3)), "from 0.3 to 0.3")):
        files, reason = Subject.of(model, holdout=unlabelled).measured({"same": (Same(), {})})
        assert files["same"].quality is None and why in reason
        assert files["same"].comparison.parity.agreement == 1  # its rows sum to one
    assert Subject.of(model).measured({"same": (Same(), {})}) == ({}, "there is no holdout")


def test_open_axes_need_data_and_are_tried_at_another_size():
    inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match=r"inputs \['image'\] have open axes"):
        Subject.of(model)
    subject = Subject.of(model, holdout=np.random.default_rng(0).normal(size=(4, 8, 12, 3)), batch=None)
    shapes = [sample["image"].shape for sample, _ in subject.larger()]
    assert shapes == [(3, 8, 12, 3), (1, 10, 15, 3)]
    for sample, expected in subject.larger():
        (value,) = expected.values()
        np.testing.assert_allclose(value, model.predict(sample["image"], verbose=0), atol=1e-5)


def test_endless_holdouts_are_refused(model):
    with pytest.raises(ValueError, match=r"holdout never ends.*take\(100\)"):
        Subject.of(model, holdout=tf.data.Dataset.from_tensor_slices(images(20)).batch(4).repeat())
    endless = tf.data.Dataset.from_tensor_slices(images(200)).batch(16).repeat()
    assert 10 < len(Subject.of(model, representative_data=endless).samples) < 64


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((127, 128), (127.0, 128.0)),
        ((np.float32(127), np.array([1, 2, 4])), (127.0, (1.0, 2.0, 4.0))),
        (([1, 2, 3], (4, 5, 6)), ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),
    ],
)
def test_a_normalization_is_kept_as_a_report_can_hold_it(given, kept):
    bare = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    subject = Subject.of(bare, normalization=given)
    assert subject.normalization == kept
    assert subject.preprocessing == f"by the client: (x - {kept[0]}) / {kept[1]}"
    assert json.loads(json.dumps(subject.normalization))[0] == (
        list(kept[0]) if isinstance(kept[0], tuple) else kept[0]
    )
    assert Subject.of(bare).preprocessing == "none"
    with pytest.raises(ValueError, match="above 0"):
        Subject.of(bare, normalization=(0.0, [1.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda x: x / 255, None),  # rescaled twice
        (lambda x: 255 * x, None),
        (lambda x: x - 100, None),  # centred: too low alone
        (lambda x: x, (0, 1)),  # not rescaled
        (lambda x: x / 127.5 - 1, (0, 255)),
    ],
)
def test_data_in_another_range_are_refused(model, change, given):
    x, y = images()
    for data in ({"representative_data": (change(x), y)}, {"holdout": change(x)}):
        with pytest.raises(ValueError, match="run from .* but the graph expects"):
            Subject.of(model, input_range=given, **data)
    assert Subject.of(model, holdout=x).input_range == (0, 255)
    assert Subject.of(model, holdout=x / 255, input_range=(0, 1)).input_range == (0, 1)  # the user knows


def test_data_decide_where_the_graph_leaves_it_open():
    known = keras.layers.Normalization(mean=[0.48] * 3, variance=[0.25**2] * 3)
    model = keras.Sequential([keras.Input((8, 8, 3)), known, keras.layers.Conv2D(2, 3)])
    x, _ = images()
    assert Subject.of(model).input_range is None
    assert "0 to 1" in Subject.of(model).range_question and "-1 to 1" in Subject.of(model).range_question
    for data in ({"holdout": x / 255}, {"representative_data": x / 255}):
        subject = Subject.of(model, **data)
        assert subject.input_range == (0, 1) and subject.range_question is None
    assert Subject.of(model, holdout=x / 127.5 - 1).input_range == (-1, 1)
    assert Subject.of(model, holdout=(x - 120) / 50).input_range is None
    # random inputs are those of which it makes values around 0
    made_up = [next(iter(s.values())) for s in Subject.of(model).samples]
    values = np.concatenate(
        [made_up[i] for i in range(12) if i % 3 != 2]
    )  # the others have padding or extremes
    assert values.mean() == pytest.approx(0.48, abs=0.02) and values.std() == pytest.approx(0.25, abs=0.02)


def test_random_inputs_of_integers_are_in_the_range():
    inputs = keras.Input((50,), dtype="int32", name="ids")
    model = keras.Model(inputs, keras.layers.Embedding(30, 2)(inputs))
    ids = np.stack([s["ids"] for s in Subject.of(model, input_range=(3, 29)).samples])
    assert ids.dtype == np.int32 and (ids.min(), ids.max()) == (3, 29)
    assert set(np.unique([s["ids"] for s in Subject.of(model).samples])) == set(range(30))  # its vocabulary
    pixels = keras.Input((8, 8, 3), dtype="uint8", name="image")
    model = keras.Model(pixels, keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 255)(pixels)))
    values = np.stack([s["image"] for s in Subject.of(model).samples])
    assert values.dtype == np.uint8 and (values.min(), values.max()) == (0, 255)
    image = keras.Input((4,), name="image")  # of pictures and ids, the range is that of the pictures
    beside = keras.layers.Flatten()(keras.layers.Embedding(2, 2)(inputs))
    both = keras.Model([inputs, image], keras.layers.Concatenate()([beside, image]))
    sample = Subject.of(both, input_range=(10, 20)).samples[0]
    assert sample["ids"].max() <= 1 and 10 <= sample["image"].min() <= sample["image"].max() <= 20


def test_labels_of_several_outputs_and_normalization_beside_a_layer_are_refused():
    inputs = keras.Input((3,))
    two = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="one output; .* has 2"):
        Subject.of(two, labels=["a", "b"])
    known = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0])
    inside = keras.Sequential([keras.Input((3,)), known, keras.layers.Dense(2)])
    with pytest.raises(
        ValueError, match=r"\(Normalization\), so normalization=\(1.0, 2.0\) would be applied"
    ):
        Subject.of(inside, normalization=(1, 2))
    assert Subject.of(inside, labels=("a", "b")).labels == ("a", "b")
    assert Subject.of(inside).preprocessing == "in the graph: Normalization"


def test_any_batch_size_is_tried_with_three(model):
    x, _ = images(40, 1)
    ((sample, expected),) = Subject.of(model, holdout=x, batch=None).larger()
    assert [bool((x == image).all((1, 2, 3)).any()) for image in sample["image"]] == [True] * 3
    np.testing.assert_allclose(expected["scores"], model.predict(sample["image"], verbose=0), atol=1e-6)
    assert Subject.of(model, holdout=x).larger() == []


def test_open_axes_take_representative_data_for_a_holdout():
    inputs = keras.Input((None, 2), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(inputs)))
    data = np.random.default_rng(0).normal(size=(20, 6, 2)).astype("float32")
    subject = Subject.of(model, representative_data=data)
    assert {s["x"].shape for s in subject.samples} == {(1, 6, 2)}
    assert [s["x"].shape for s, _ in subject.larger()] == [(1, 7, 2)]  # 6 and a quarter of it


def test_qualities_of_one_hot_labels_in_several_batches(model):
    """Against the accuracies of two files worked out by hand, over 70 samples: 32 + 32 + 6 at a time."""
    x, y = images(70, 1)
    subject = Subject.of(model, holdout=(x, keras.utils.to_categorical(y, 3)))
    files, _ = subject.measured({"zero": (lambda named: {"scores": np.array([[1.0, 0.0, 0.0]])}, {})})
    found = files["zero"].quality
    mine = model.predict(x, verbose=0).argmax(1)
    assert found.samples == 70
    assert found.accuracy_file == pytest.approx(np.mean(y == 0))
    assert found.accuracy_model == pytest.approx(np.mean(mine == y))
    assert found.agreement == pytest.approx(np.mean(mine == 0))


def test_representative_data_are_held_against_the_holdout(model):
    x, y = images()
    with pytest.raises(ValueError, match=r"holdout's samples are in representative_data"):
        Subject.of(model, holdout=(x[:40], y[:40]), representative_data=(x, y))
