"""advise, whole: what it recommends where the answer is known, and what it refuses."""

import json

import keras
import numpy as np
import pytest
from html_tables import Shown, unseen

import kerasft
from kerasft.probe import fit_probe, logme

RNG = np.random.default_rng(0)
LABELS = np.arange(240) % 3


def network(*kernels, activation="softmax", units=3):
    """Linear stages with given kernels, and a head."""
    net = keras.Sequential([keras.Input((len(kernels[0]),))])
    for index, kernel in enumerate(kernels):
        net.add(keras.layers.Dense(kernel.shape[1], use_bias=False, name=f"stage_{index}"))
        net.layers[-1].set_weights([kernel])
    net.add(keras.layers.Dense(units, activation, name="head"))
    return net


def clusters(spread):
    return (RNG.normal(size=(240, 6)) * spread + 3 * np.eye(3, 6)[LABELS]).astype("float32")


def test_fine_tune_from_the_stage_above_which_it_gets_lost():
    """stage_1 keeps two directions, in one of which two classes are the same."""
    x, lost = clusters(1.0), np.zeros((6, 2))
    lost[0, 0] = lost[5, 1] = 1
    net = network(np.eye(6), lost)
    before = net.get_weights()
    found = kerasft.advise(net, (x, LABELS))
    assert (found.recommendation, found.depth, found.trains_from) == ("fine_tune", 1, "stage_1")
    assert found.confidence == "clear" and "'stage_0' beats the one before the head" in found.reasons[0]
    for old, new in zip(before, net.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert [(r.depth, r.stage, r.features) for r in found.by_depth] == [(1, "stage_0", 6), (2, "stage_1", 2)]
    wanted = np.eye(3)[LABELS]
    for row, given in zip(found.by_depth, (x, x @ lost)):
        assert row.logme == pytest.approx(logme(given, wanted), rel=1e-3)
        probe = fit_probe(given, wanted, strengths=(1.0, 0.1, 0.01, 0.001, 0.0001))
        assert row.score == pytest.approx(np.mean(probe.held_out.argmax(1) == LABELS), abs=0.005)
    assert [point.samples for point in found.curve] == [30, 60, 120, 240, 480]
    assert not found.curve[-1].measured and found.curve[-2].score == found.by_depth[-1].score
    text = str(found)
    assert text.startswith(
        "Fine-tune at freeze depth 1 (trains from 'stage_1'): the standard errors are clear."
    )
    assert "480      " in text and "extrapolated" in text and "1      stage_0       6" in text
    assert unseen(found) == [] and len(Shown(found._repr_html_()).rows) == 2 + 1 + 5 + 1
    assert json.loads(json.dumps(found.to_dict()))["by_depth"][0]["stage"] == "stage_0"


def test_extract_where_nothing_is_left_to_gain():
    found = kerasft.advise(network(np.eye(6), np.eye(6)), (clusters(0.2), LABELS))
    assert (found.recommendation, found.depth, found.confidence) == ("extract_features", 2, "clear")
    assert found.trains_from == "head" and found.by_depth[-1].score == 1.0


def test_where_features_are_the_limit_all_stages_train():
    """Classes by the parity of signs, which no linear layer tells."""
    x = RNG.normal(size=(480, 2)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = kerasft.advise(network(np.eye(2), np.eye(2), units=2), (x, y))
    assert (found.recommendation, found.depth, found.trains_from) == ("fine_tune", 0, "stage_0")
    assert found.by_depth[-1].score < 0.65 and found.confidence == "likely"


def test_numbers_have_r_squared_and_columns_accuracy():
    x = RNG.normal(size=(240, 6)).astype("float32")
    numbers = x[:, :2] + 0.1 * RNG.normal(size=(240, 2))
    net = network(np.eye(6), activation=None, units=2)
    net.compile("sgd", "mse")
    found = kerasft.advise(net, (x, numbers))
    assert found.confidence == "open" and "noise in the targets" in found.reasons[-1]
    assert found.measure == "R²" and found.by_depth[0].score == pytest.approx(0.99, abs=0.005)
    net = network(np.eye(6), activation="sigmoid", units=2)
    found = kerasft.advise(net, (x, (numbers > 0).astype(int)))
    assert found.measure == "accuracy" and 0.9 < found.by_depth[0].score < 1
    assert (
        kerasft.advise(network(np.eye(6), activation=None, units=2), (x, numbers), link="identity").measure
        == "R²"
    )


def test_samples_without_weight_do_not_count():
    x = clusters(1.0)
    weights = (np.arange(240) < 120).astype("float32")
    noise = np.where(weights[:, None] > 0, x, RNG.normal(size=x.shape)).astype("float32")
    found = kerasft.advise(network(np.eye(6)), (noise, LABELS, weights))
    alone = kerasft.advise(network(np.eye(6)), (x[:120], LABELS[:120]))
    assert found.samples == 120 and found.by_depth[0].score == pytest.approx(
        alone.by_depth[0].score, abs=0.01
    )


def test_a_class_without_a_sample_is_noted():
    found = kerasft.advise(network(np.eye(6), units=4), (clusters(1.0), LABELS))
    assert found.notes == ("No sample is of class 3.",)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.head = (
            keras.layers.Dense(4, name="body"),
            keras.layers.Dense(3, "softmax", name="head"),
        )

    def call(self, x):
        return self.head(self.body(x))


def test_a_subclassed_model_needs_its_stages():
    net, x = Subclassed(), clusters(1.0)
    net(x[:1])
    with pytest.raises(ValueError, match=r"is a subclassed model: .*find_stages\(model, at="):
        kerasft.advise(net, (x, LABELS))
    found = kerasft.advise(kerasft.find_stages(net, at=["body", "head"]), (x, LABELS))
    assert [(r.depth, r.stage, r.features) for r in found.by_depth] == [(1, "body", 4)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(np.arange(240) == 7, 2, np.arange(240) % 2), "Some classes have one sample: 2"),
        (np.zeros(240, int), "All samples are of class 0"),
        (np.where(np.arange(240) == 7, np.nan, LABELS), "Some targets are not finite"),
        (LABELS + 1, "they fit neither as rows of 3 nor as class ids"),
    ],
)
def test_targets_that_do_not_do_are_named(labels, words):
    with pytest.raises(ValueError, match=words):
        kerasft.advise(network(np.eye(6)), (clusters(1.0), labels))


def test_arguments_that_do_not_do_are_named():
    net, x = network(np.eye(6), activation=None), clusters(1.0)
    with pytest.raises(ValueError, match="ends with scores and is not compiled"):
        kerasft.advise(net, (x, LABELS))
    with pytest.raises(ValueError, match="samples is an integer of at least 4; received 3"):
        kerasft.advise(net, (x, LABELS), samples=3)
    with pytest.raises(TypeError, match="expects a keras.Model"):
        kerasft.advise(lambda x: x, (x, LABELS))
    constant = np.stack([x[:, 0], np.zeros(240)], 1)
    with pytest.raises(ValueError, match=r"The targets of the outputs \[1\] are the same"):
        kerasft.advise(network(np.eye(6), activation=None, units=2), (x, constant), link="identity")
