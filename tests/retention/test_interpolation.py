"""WiSE-FT against arithmetic by hand, sweeps against evaluations of models that were set by hand."""

import keras
import numpy as np
import pytest
from html_tables import Shown, unseen

import kerasft
from kerasft.retention import interpolation

ALPHAS = (0.0, 0.25, 1.0)


def classifier(units=3, seed=0, name="head"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, "relu", name="a"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(units, name=name),
        ],
        name="net",
    )


def data(classes=3, count=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 4)).astype("float32"), rng.integers(0, classes, count)


def tuned():
    """A model after some training, and its weights before."""
    net = classifier()
    before = net.get_weights()
    net.compile(keras.optimizers.Adam(0.05), "mse")
    net.fit(data()[0], np.ones((40, 3)), epochs=3, verbose=0)
    return net, before


def test_weights_equal_the_formula():
    net, before = tuned()
    after = net.get_weights()
    returned = kerasft.interpolate(net, before, 0.25)
    for now, old, new, kept in zip(net.get_weights(), before, after, returned, strict=True):
        np.testing.assert_allclose(now, 0.75 * old + 0.25 * new, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(kept, new)
        assert not np.array_equal(old, new)
    for alpha, expected in ((0, before), (1, after)):
        net.set_weights(after)
        kerasft.interpolate(net, before, alpha)
        for now, value in zip(net.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(now, value)


def test_a_new_head_stays_as_it_is():
    net, _ = tuned()
    original = classifier(units=5, seed=1)
    kernel, head = net.layers[0].kernel.numpy(), net.layers[-1].kernel.numpy()
    kerasft.interpolate(net, original, 0.5)
    np.testing.assert_allclose(
        net.layers[0].kernel, (kernel + original.layers[0].kernel.numpy()) / 2, rtol=1e-6
    )
    np.testing.assert_array_equal(net.layers[-1].kernel, head)


@pytest.mark.parametrize("form", ["array", "pair", "dataset"])
def test_statistics_are_those_of_the_interpolated_model(form):
    """One batch of all samples: the mean and the variance of what the first layer computes."""
    import tensorflow as tf

    net, before = tuned()
    x, y = data()
    given = {"array": x, "pair": (x, y), "dataset": tf.data.Dataset.from_tensors((x, y))}[form]
    flags = [v.trainable for v in net.variables]
    kerasft.interpolate(net, before, 0.25, data=given)
    hidden = np.maximum(x @ net.layers[0].kernel.numpy() + net.layers[0].bias.numpy(), 0)
    norm = net.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, hidden.var(0), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.99
    assert [v.trainable for v in net.variables] == flags


def test_statistics_over_unequal_batches_are_weighted_by_their_sizes():
    import tensorflow as tf

    net, before = tuned()
    x, _ = data(count=40)
    kerasft.interpolate(net, before, 0.5, data=tf.data.Dataset.from_tensor_slices(x).batch(16))  # 16, 16, 8
    hidden = np.maximum(x @ net.layers[0].kernel.numpy() + net.layers[0].bias.numpy(), 0)
    np.testing.assert_allclose(net.get_layer("norm").moving_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)


def test_statistics_that_training_left_alone_stay():
    net = classifier()
    before = net.get_weights()
    norm = net.get_layer("norm")
    norm.trainable = False
    net.compile(keras.optimizers.Adam(0.05), "mse")
    net.fit(data()[0], np.ones((40, 3)), epochs=2, verbose=0)
    kerasft.interpolate(net, before, 0.5, data=data()[0])
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(6))


def accuracy(net, x, y):
    return float(np.mean(net.predict(x, verbose=0).argmax(1) == y))


def test_a_sweep_equals_models_set_by_hand():
    net, _ = tuned()
    original = classifier(units=5, seed=1)
    body = [w.copy() for w in original.get_weights()[:6]]
    target, source = data(), data(classes=5, seed=1)
    after, theirs = net.get_weights(), original.get_weights()
    sweep = kerasft.interpolation_sweep(net, original, target, source=source, alphas=ALPHAS)
    for kept, now in zip(after + theirs, net.get_weights() + original.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)
    by_hand, old = classifier(), classifier(units=5)
    for i, alpha in enumerate(ALPHAS):
        mixed = [(1 - alpha) * w + alpha * v for w, v in zip(body, after[:6], strict=True)]
        by_hand.set_weights([*mixed, *after[6:]])
        old.set_weights([*mixed, *theirs[6:]])
        assert sweep.accuracy[i] == pytest.approx(accuracy(by_hand, *target))
        assert sweep.source_accuracy[i] == pytest.approx(accuracy(old, *source))
    assert sweep.alphas == ALPHAS


def test_the_choice_under_a_floor():
    sweep = kerasft.InterpolationSweep((0.0, 0.5, 0.75, 1.0), (0.5, 0.8, 0.8, 0.9), (0.9, 0.8, 0.7, 0.3), 0.7)
    assert sweep.alpha == 0.5  # of equal ones the smallest
    assert "0.50   0.8000    0.8000           chosen" in str(sweep)
    assert kerasft.InterpolationSweep(sweep.alphas, sweep.accuracy, sweep.source_accuracy).alpha == 1.0
    none = kerasft.InterpolationSweep(sweep.alphas, sweep.accuracy, sweep.source_accuracy, 0.95)
    assert none.alpha is None
    assert "None reaches 0.95; the most on source data is 0.9000." in str(none)
    assert unseen(sweep) == unseen(none) == [] and len(Shown(none._repr_html_()).rows) == 5


def test_the_choice_is_set_on_request():
    net, before = tuned()
    after = net.get_weights()
    sweep = kerasft.interpolation_sweep(net, before, data(), alphas=3, set_choice=True)
    share = sweep.alpha
    for now, old, new in zip(net.get_weights(), before, after, strict=True):
        np.testing.assert_array_equal(now, (1 - share) * old + share * new)


def test_all_weights_are_back_after_an_error(monkeypatch):
    net, _ = tuned()
    original = classifier(units=5, seed=1)
    kept = net.get_weights() + original.get_weights()
    source = data(classes=9, count=200)  # a label that the original has no score for
    with pytest.raises(ValueError, match="class numbers from 0 to 4"):
        kerasft.interpolation_sweep(net, original, data(), source=source)
    for value, now in zip(kept, net.get_weights() + original.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(interpolation, "reestimate", fail)
    with pytest.raises(KeyboardInterrupt):
        kerasft.interpolate(net, original, 0.5, data=data()[0])
    np.testing.assert_array_equal(net.layers[0].kernel, kept[0])


def test_nothing_is_traced_again_from_share_to_share(monkeypatch):
    net, before = tuned()
    traces = []
    call = type(net.layers[0]).call
    monkeypatch.setattr(
        type(net.layers[0]),
        "call",
        lambda self, *args, **kwargs: traces.append(1) or call(self, *args, **kwargs),
    )
    kerasft.interpolation_sweep(net, before, data(count=64), alphas=2)
    once = len(traces)
    kerasft.interpolation_sweep(net, before, data(count=64), alphas=11)
    assert len(traces) == once > 0


def test_what_is_wrong_is_named(image_model):
    net, before = tuned()
    with pytest.raises(ValueError, match="alpha is a number of at least 0 and of at most 1"):
        kerasft.interpolate(net, before, 1.5)
    with pytest.raises(ValueError, match="holds the variables of 'net' itself"):
        kerasft.interpolate(net, net, 0.5)
    with pytest.raises(TypeError, match="received str"):
        kerasft.interpolate(net, before, 0.5, data="pictures")
    with pytest.raises(ValueError, match=r"give source=\(x, y\) too"):
        kerasft.interpolation_sweep(net, before, data(), floor=0.5)
    with pytest.raises(TypeError, match="`data` is a pair"):
        kerasft.interpolation_sweep(net, before, data()[0])
    with pytest.raises(ValueError, match="not the original"):
        kerasft.interpolate(net, image_model, 0.5)
    with pytest.raises(TypeError, match="alphas is a number of shares"):
        kerasft.interpolation_sweep(net, before, data(), alphas="many")
