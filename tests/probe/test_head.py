import keras
import numpy as np
import pytest
import tensorflow as tf
from probe_features import scaled
from sklearn.linear_model import LogisticRegression

from kerasft.probe import features_of, predictions, solve_head

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
X = (RNG.normal(size=(60, 6)) + LABELS[:, None]).astype("float32")


def network(units=3, activation="softmax", after=()):
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "relu", name="body"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(units, activation, name="head"),
            *after,
        ]
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.head = keras.layers.Dense(8, "relu"), keras.layers.Dense(3, name="head")

    def call(self, x):
        return keras.ops.softmax(self.head(self.body(x)))


def nested():
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="head")])
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), inner, keras.layers.Softmax()])


def subclassed():
    model = Subclassed()
    model(X[:1])
    return model


@pytest.mark.parametrize("make", [network, nested, subclassed])
def test_the_model_predicts_what_sklearn_does_on_its_features(make):
    model = make()
    others = [w.numpy() for w in model.weights[:2]]
    features, _ = features_of(model, [(X, LABELS)])
    probe = solve_head(model, [(X[:40], LABELS[:40]), (X[40:], LABELS[40:])])
    sklearn = LogisticRegression(C=1 / (60 * probe.strength), max_iter=5000, tol=1e-9)
    expected = sklearn.fit(scaled(features), LABELS).predict_proba(scaled(features))
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-3)
    for before, after in zip(others, model.weights[:2], strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    "targets", [LABELS, LABELS[:, None], np.eye(3)[LABELS]], ids=["ids", "column", "rows"]
)
def test_takes_labels_as_keras_does(targets):
    reference, model = network(), network()
    model.set_weights(reference.get_weights())
    solve_head(reference, [(X, LABELS)])
    solve_head(model, tf.data.Dataset.from_tensor_slices((X, targets)).batch(16))
    np.testing.assert_allclose(model.predict(X, verbose=0), reference.predict(X, verbose=0), atol=1e-3)


@pytest.mark.parametrize(
    ("loss", "targets", "units", "link"),
    [
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, 3, "softmax"),
        (keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(3)[LABELS], 3, "softmax"),
        (keras.losses.BinaryCrossentropy(from_logits=True), np.eye(3)[LABELS], 3, "sigmoid"),
        ("mse", np.eye(3)[LABELS], 3, "identity"),
        ("mse", X[:, 0], 1, "identity"),
    ],
)
def test_the_loss_tells_what_scores_mean(loss, targets, units, link):
    model = network(units, None)
    with pytest.raises(ValueError, match='ends with scores and is not compiled.*Give link="softmax"'):
        solve_head(model, [(X, targets)])
    model.compile("sgd", loss)
    before = model.evaluate(X, targets, verbose=0)
    probe = solve_head(model, [(X, targets)])
    assert probe.link == link
    assert model.evaluate(X, targets, verbose=0) < before


def test_a_sigmoid_is_seen_by_the_output():
    model = network(1, "sigmoid")
    probe = solve_head(model, [(X, (LABELS > 0).astype("float32"))])
    assert probe.link == "sigmoid"
    np.testing.assert_allclose(
        model.predict(X, verbose=0),
        predictions(probe.scores(features_of(model, [(X, LABELS)])[0]), "sigmoid"),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("activation", "link"), [("relu", "softmax"), ("relu", "identity"), ("softmax", "sigmoid")]
)
def test_a_link_that_the_model_contradicts_is_refused(activation, link):
    model = network(activation=activation)
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"It is not '{link}' alone, as link= says"):
        solve_head(model, [(X, LABELS)], link=link)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_link_is_given_where_the_model_ends_with_scores():
    model = network(3, None)
    probe = solve_head(model, [(X, LABELS)], link="softmax")
    assert probe.link == "softmax"
    assert (model.predict(X, verbose=0).argmax(1) == LABELS).mean() > 0.6


def test_class_weights_count_as_sample_weights_do():
    reference, model = network(), network()
    model.set_weights(reference.get_weights())
    solve_head(reference, [(X, LABELS, 1.0 + 4 * (LABELS == 2))])
    solve_head(model, [(X, LABELS)], class_weight={0: 1.0, 1: 1.0, 2: 5.0})
    np.testing.assert_allclose(model.get_weights()[-1], reference.get_weights()[-1], atol=1e-3)
    plain = network()
    plain.set_weights([*reference.get_weights()[:2], *network().get_weights()[2:]])
    solve_head(plain, [(X, LABELS)])
    assert np.abs(plain.get_weights()[-1] - model.get_weights()[-1]).max() > 0.1


def test_arrays_are_taken_as_the_batches_of_them():
    weight = np.linspace(0.5, 2, len(LABELS)).astype("float32")
    for arrays in ((X, LABELS), (X, LABELS, weight)):
        one, other = network(), network()
        one.set_weights(other.get_weights())
        batches = [tuple(part[i : i + 32] for part in arrays) for i in range(0, len(X), 32)]
        given, listed = solve_head(one, arrays), solve_head(other, batches)
        assert given.strength == listed.strength and given.loss == listed.loss
        for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_data_without_an_end_are_refused():
    model = network()
    before = model.get_weights()
    data = tf.data.Dataset.from_tensor_slices((X, LABELS)).batch(32)
    with pytest.raises(ValueError, match=r"have no end .* before repeat"):
        solve_head(model, data.repeat())
    assert all(map(np.array_equal, model.get_weights(), before))
    assert solve_head(model, data.repeat().take(2)).loss == solve_head(model, data).loss


def without_bias():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, use_bias=False, name="head")])


def sequence():
    return keras.Sequential([keras.Input((6,)), keras.layers.Reshape((3, 2)), keras.layers.Dense(3)])


def twice():
    head = keras.layers.Dense(6, name="head")
    inputs = keras.Input((6,))
    return keras.Model(inputs, head(head(inputs)))


@pytest.mark.filterwarnings("ignore:.*softmax over axis")
@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (without_bias, [(X, LABELS)], r"'head' has weights of the shapes \[\(6, 3\)\]"),
        (sequence, [(X, LABELS)], r"its last layer is given \(60, 3, 2\)"),
        (twice, [(X, LABELS)], "calls the layer 'head' 2 times"),
        (network, [], "The data are empty"),
        (network, [(X, LABELS + 5)], "they fit neither as rows of 3 nor as class ids from 0 to 2"),
        (network, [(X, LABELS + 0.5)], "with values from 0.5 to 2.5"),
        (lambda: network(1), [(X, LABELS)], "is none of softmax, sigmoid and nothing, or can't be told"),
        (lambda: network(activation="relu"), [(X, LABELS)], "is none of softmax, sigmoid and nothing"),
    ],
)
def test_refuses_what_can_not_be_solved_and_changes_nothing(model, data, message):
    model = model()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        solve_head(model, data)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
