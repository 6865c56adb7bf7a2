"""The range test: what it finds, and that it leaves no trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import _keras, find_learning_rate
from kerasft.learning_rates.finder import LearningRateCurve, _steepest, _valley


def quadratic():
    """One weight w and the loss (w x)² with x² = 1: the curvature is 2, so SGD diverges above a rate of 1."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.layers[0].kernel.assign([[1.0]])
    return model, np.ones((4, 1), "float32"), np.zeros((4, 1), "float32")


def everything(model):
    return [v.numpy() for v in [*model.variables, *_keras.optimizer_variables(model.optimizer)]]


def assert_untouched(before, model):
    after = everything(model)
    assert len(before) == len(after)
    assert all(np.array_equal(a, b) for a, b in zip(before, after))


def test_it_finds_where_a_quadratic_diverges():
    model, x, y = quadratic()
    curve = find_learning_rate(model, x, y, lowest=1e-3, highest=30.0, steps=120, smoothing=0.0)
    # each step multiplies w by 1 - 2 * rate: the loss falls while the rate is below 1 and rises above it
    rates, losses = curve.learning_rates, curve.losses
    expected = np.concatenate([[1.0], np.cumprod((1 - 2 * rates[:-1]) ** 2)])
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-9)
    assert curve.diverged and rates[-1] < 30
    assert rates[int(np.argmin(losses))] == pytest.approx(1.0, rel=0.2)
    assert curve.steepest < curve.learning_rates[int(np.argmin(losses))]
    assert 1e-3 < curve.valley < 1.0
    assert curve.suggestion == curve.valley and "exploded" in str(curve) and "tried" not in str(curve)


def test_suggestions_on_a_curve_made_by_hand():
    rates = np.geomspace(1e-5, 1e-1, 9)
    #                   1e-5          1e-4          1e-3         1e-2         1e-1
    losses = np.array([2.00, 1.99, 1.95, 1.80, 1.20, 1.00, 0.95, 1.50, 9.00])
    # slopes (centred): steepest between 1.95 and 1.20 -> at 1.80? (1.20 - 1.95) / 2 = -0.375;
    # at 1.20: (1.00 - 1.80) / 2 = -0.40, the steepest, at 1e-3
    assert _steepest(rates, losses) == pytest.approx(1e-3)
    # falls from 1e-5 to 1e-2; two thirds of three decades up: 1e-3
    assert _valley(rates, losses) == pytest.approx(1e-3)


def image_fit(image_model, optimizer, **compile_arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    image_model.compile(optimizer, loss, metrics=["accuracy"], **compile_arguments)
    return image_model


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda: keras.optimizers.Adam(0.01), {}),
        (lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10)), {}),
        (lambda: keras.optimizers.Nadam(0.01, use_ema=True), {}),
        (lambda: keras.optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=2), {}),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)), {}),
        (lambda: keras.optimizers.Adam(0.01), {"steps_per_execution": 2}),
        (lambda: keras.optimizers.Adam(0.01), {"jit_compile": True}),
    ],
    ids=["adam", "schedule", "ema", "accumulation", "loss_scale", "execution", "jit"],
)
def test_it_leaves_no_trace(image_model, image_data, make, arguments):
    x = keras.layers.Dropout(0.5)(image_model.output)
    model = image_fit(keras.Model(image_model.input, x), make(), **arguments)
    kerasft.freeze(model, "block_2")
    model.fit(*image_data, batch_size=8, verbose=0)
    before, history = everything(model), model.history
    rate = float(model.optimizer.learning_rate)
    curve = find_learning_rate(model, *image_data, batch_size=8, steps=12, lowest=1e-4, highest=1.0)
    assert_untouched(before, model)
    assert float(model.optimizer.learning_rate) == rate and model.history is history
    assert len(curve.losses) >= 6 and len(set(curve.losses)) > 3  # while it ran, it trained
    np.testing.assert_allclose(curve.learning_rates[1] / curve.learning_rates[0], 10 ** (4 / 11), rtol=1e-6)
    stem = model.get_layer("backbone").get_layer("stem_conv").kernel.numpy()
    model.fit(*image_data, batch_size=8, verbose=0)
    assert np.array_equal(stem, model.get_layer("backbone").get_layer("stem_conv").kernel)
    assert not np.array_equal(before[-1], everything(model)[-1]) or before[0].shape


def test_it_leaves_no_trace_when_it_breaks_off(image_model, image_data):
    model = image_fit(image_model, keras.optimizers.Adam(0.01))
    model.fit(*image_data, batch_size=8, verbose=0)
    before = everything(model)

    def data():
        yield image_data[0][:8], image_data[1][:8]
        yield image_data[0][:8], image_data[1][:8]
        raise KeyboardInterrupt

    with pytest.raises(BaseException):  # noqa: B017 - TensorFlow wraps what a generator raises
        find_learning_rate(model, data(), steps=10)
    assert_untouched(before, model)


@pytest.mark.parametrize("source", ["arrays", "dataset", "sequence"])
def test_every_source_of_data(image_model, image_data, source):
    model = image_fit(image_model, keras.optimizers.SGD(0.01))

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = slice(index * 8, index * 8 + 8)
            return image_data[0][rows], image_data[1][rows]

    arguments = {
        "arrays": (*image_data,),
        "dataset": (tf.data.Dataset.from_tensor_slices(image_data).batch(8),),
        "sequence": (Sequence(),),
    }[source]
    options = {} if source == "arrays" else {"shuffle": False}
    curve = find_learning_rate(model, *arguments, steps=10, highest=1e-3, **options)
    assert len(curve.losses) == 10 and not curve.diverged
    assert not curve.learning_rates[-1] > 1e-3 * (1 + 1e-6)


def test_a_loss_that_is_not_finite_ends_the_test(dense_model):
    dense_model.compile(keras.optimizers.SGD(0.1), "mse")
    before = [w.numpy() for w in dense_model.weights]
    x, y = np.ones((4, 4), "float32"), np.ones((4, 3), "float32")
    curve = find_learning_rate(dense_model, x, y, lowest=1e-3, highest=1e30, steps=40, stop_factor=1e30)
    assert curve.diverged and np.all(np.isfinite(curve.smoothed))
    assert all(np.array_equal(a, b) for a, b in zip(before, dense_model.weights))
    with pytest.raises(ValueError, match="not finite"):
        find_learning_rate(dense_model, x, y * np.nan)


def test_the_figure(tmp_path):
    model, x, y = quadratic()
    curve = find_learning_rate(model, x, y, lowest=1e-3, highest=30.0)
    assert isinstance(curve, LearningRateCurve)
    curve.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_bad_input(dense_model):
    x, y = np.ones((4, 4)), np.ones((4, 3))
    with pytest.raises(TypeError, match="Keras model"):
        find_learning_rate("model", x, y)
    with pytest.raises(ValueError, match="not compiled"):
        find_learning_rate(dense_model, x, y)
    dense_model.compile("sgd", "mse")
    for arguments, message in [
        ({"lowest": 0}, "lowest is a number above 0"),
        ({"lowest": 1.0, "highest": 0.1}, "highest is a number above 1; received 0.1"),
        ({"highest": float("inf")}, "highest is a number.*received inf"),
        ({"steps": 3}, "at least 10"),
        ({"smoothing": 1.0}, "below 1"),
        ({"stop_factor": 1.0}, "above 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            find_learning_rate(dense_model, x, y, **arguments)
    with pytest.raises(TypeError, match="lowest is a number"):
        find_learning_rate(dense_model, x, y, lowest="tiny")
    with pytest.raises(TypeError, match="steps is an integer"):
        find_learning_rate(dense_model, x, y, steps=12.5)
    dense_model.trainable = False
    with pytest.raises(ValueError, match="nothing to train"):
        find_learning_rate(dense_model, x, y)


@pytest.mark.filterwarnings(
    "ignore:Your input ran out of data:UserWarning"
)  # Keras's, of a length it does not know
def test_data_without_a_batch_end_at_once_and_short_data_are_taken_again():
    model, x, y = quadratic()
    some = tf.data.Dataset.from_tensor_slices((x, y))
    before = everything(model)
    for none in (
        (x[:0], y[:0]),
        (some.take(0).batch(2),),
        (some.filter(lambda x, y: x[0] < 0).batch(2),),  # Keras does not know that it is empty
        (some.batch(16, drop_remainder=True),),
    ):
        with pytest.raises(ValueError, match="hold no batch"):
            find_learning_rate(model, *none, shuffle=False)
        assert_untouched(before, model)
    few = some.filter(lambda x, y: x[0] > 0).batch(2)  # two batches, which Keras does not know either
    assert len(find_learning_rate(model, few, lowest=1e-3, highest=0.1, steps=11, shuffle=False).losses) == 11


@pytest.mark.parametrize(
    ("lowest", "highest", "message"),
    [
        (
            1.1,
            30.0,
            r"rises: the range begins too high. Lower `lowest`, say to 1.1e-03",
        ),  # w grows from the start
        (1e-12, 1e-11, "hardly moves. Raise `highest`"),  # (1 - 2e-11)² is 1 in float32
    ],
)
def test_a_range_in_which_the_loss_never_falls_gets_no_suggestion(lowest, highest, message):
    model, x, y = quadratic()
    before = everything(model)
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, x, y, lowest=lowest, highest=highest, steps=20)
    assert_untouched(before, model)


def test_a_fall_at_the_first_rate_alone_is_no_suggestion_either():
    # rates 0.9, 1.2, 1.6 ...: the first step divides w by -1.25, all later ones make it larger
    model, x, y = quadratic()
    with pytest.raises(ValueError, match=r"no learning rate above the first one, 9.0e-01"):
        find_learning_rate(model, x, y, lowest=0.9, highest=30.0, steps=13, smoothing=0.0)
    # from 0.3 on it falls for more than one rate: 0.3, 0.4, 0.54, 0.73, 0.97, and explodes from 1.3 on
    curve = find_learning_rate(model, x, y, lowest=0.3, highest=30.0, steps=16, smoothing=0)
    assert 0.3 < curve.suggestion < 1.0
    assert curve.steepest == pytest.approx(0.3) and "the first rate tried: it may be lower" in str(curve)
