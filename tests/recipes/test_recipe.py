import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft.probe import fit_probe, predictions
from kerasft.recipes import default
from kerasft.stages import StageLayer

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 48)
PICTURES = (RNG.uniform(size=(48, 8, 8, 3)) + 0.3 * LABELS[:, None, None, None]).astype("float32")


def batches(x=PICTURES, y=LABELS, size=16):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


def network(activation="softmax", units=3, normalized=True):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="low"),
            *([keras.layers.BatchNormalization(name="norm")] if normalized else []),
            keras.layers.Conv2D(4, 3, activation="relu", name="high"),
            keras.layers.GlobalAveragePooling2D(name="pooling"),
            keras.layers.Dense(units, activation, name="head"),
        ]
    )


def fitted(model, recipe, **arguments):
    model.compile(recipe.optimizer, recipe.loss, metrics=["accuracy"])
    return model.fit(
        recipe.train, epochs=recipe.epochs, callbacks=recipe.callbacks, shuffle=False, verbose=0, **arguments
    )


def test_the_head_is_the_probe_and_all_else_is_as_it_was():
    model = network()
    before = [w.numpy() for w in model.weights[:-2]]
    recipe = default(model, batches(), epochs=1, views=[])
    for old, new in zip(before, model.weights[:-2], strict=True):
        np.testing.assert_array_equal(old, new)
    features = keras.Model(model.inputs, model.get_layer("pooling").output).predict(PICTURES, verbose=0)
    probe = fit_probe(features, np.eye(3)[LABELS], standard_errors=2.0)
    np.testing.assert_allclose(
        model.predict(PICTURES, verbose=0), predictions(probe.scores(features), "softmax"), atol=1e-3
    )
    held = probe.held_out.argmax(1) == LABELS
    assert recipe.measured.right == pytest.approx(held.mean())
    assert recipe.measured.error == pytest.approx(held.std() / 48**0.5)


def test_trains_as_plain_keras_does_with_the_same_settings():
    """Without decay by layers and vectors left out: AdamW on a rate that warms up and falls by a cosine."""
    model, plain = network(normalized=False), network(normalized=False)
    recipe = default(model, batches(), epochs=3, depth=0, views=[], layer_decay=1.0, weight_decay=0.0)
    plain.set_weights(model.get_weights())
    fitted(model, recipe)

    class Rate(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            step = tf.cast(step, "float32")
            return tf.minimum(1.0, (step + 1) / 10) * 2e-4 * 0.5 * (1 + tf.cos(np.pi * step / 9))

    plain.compile(keras.optimizers.Adam(Rate()), "sparse_categorical_crossentropy")
    plain.fit(batches(), epochs=3, shuffle=False, verbose=0)
    for mine, theirs in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=mine.path)


def test_statistics_stay_and_lower_stages_move_less():
    model = network()
    recipe = default(model, batches(), epochs=3, depth=0, layer_decay=0.1, weight_decay=0.0)
    before = {w.path: w.numpy() for w in model.weights}
    fitted(model, recipe)
    moved = {w.path.split("/", 1)[1]: np.abs(w.numpy() - before[w.path]).max() for w in model.weights}
    assert all(moved[f"norm/{name}"] == 0 for name in ("moving_mean", "moving_variance", "gamma", "beta"))
    assert 0 < moved["low/kernel"] < moved["high/kernel"] < moved["head/kernel"]


@pytest.mark.parametrize("depth", ["high", 1])
def test_depth_freezes_to_the_bit(depth):
    model = network()
    recipe = default(model, batches(), epochs=2, depth=depth)
    low = model.get_layer("low").get_weights()
    fitted(model, recipe)
    for old, new in zip(low, model.get_layer("low").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert kerasft.freeze_depth(model) == 1


def test_the_upper_two_thirds_train_at_one_rate_whatever_the_data_are():
    recipe = default(network(), batches(), epochs=2)
    assert str(recipe).endswith("Then 2 of 3 stages train, 2 epochs, at a rate of up to 0.0002.")
    keras.utils.set_random_seed(0)
    body = [keras.layers.Dense(8, "relu", name=f"dense_{i}") for i in range(5)]
    net = keras.Sequential([keras.Input((12,)), *body, keras.layers.Dense(3, "softmax", name="head")])
    recipe = default(net, batches(PICTURES.reshape(48, -1)[:, :12]), epochs=2)
    assert str(recipe).endswith("Then 4 of 6 stages train, 2 epochs, at a rate of up to 0.0002.")
    recipe = default(net, batches(PICTURES.reshape(48, -1)[:, :12]), epochs=2, depth=1, layer_decay=0.9)
    assert "Then 5 of 6 stages train, 2 epochs, at a rate of up to 0.0002 for the last, 0.9" in str(recipe)


class Unclear(StageLayer):
    """A stage that does not know which of its weights are scales."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(*shape[1:], 4), name="kernel")

    def check_batch_norm(self, policy):
        super().check_batch_norm(policy)
        if policy == "frozen":
            raise ValueError("It can't be told which weights are scales.")

    def call(self, x):
        return x @ self.kernel


def test_statistics_alone_stay_where_scales_are_not_known():
    rows = PICTURES.reshape(48, -1)[:, :12]
    for policy, body in (("inference", Unclear(name="body")), ("frozen", keras.layers.Dense(4, name="body"))):
        layers = [body, keras.layers.Dense(4, name="upper"), keras.layers.Dense(3, "softmax", name="head")]
        net = keras.Sequential([keras.Input((12,)), *layers])
        (callback,) = default(net, batches(rows), epochs=1, depth=0).callbacks
        assert callback.batch_norm == policy
    (callback,) = default(network(), batches(), epochs=1, batch_norm="train").callbacks
    assert callback.batch_norm == "train"


def test_one_batch_does_not_undo_the_head():
    """AdamW's first step moves each weight by the rate, whatever the gradient."""
    model = network(normalized=False)
    recipe = default(model, batches(size=48), epochs=1, depth=0, views=[], weight_decay=0.0)
    before = model.get_layer("low").kernel.numpy()
    fitted(model, recipe)
    moved = np.abs(model.get_layer("low").kernel.numpy() - before)
    assert moved.max() == pytest.approx(2e-4 / 10, rel=1e-2)


def test_vectors_do_not_decay():
    """At a rate that is next to nothing, what decays is all that moves: kernels by rate * decay a step."""
    model = network()
    rates = {"learning_rate": 1e-12, "weight_decay": 1e9, "layer_decay": 1.0}
    recipe = default(model, batches(), epochs=1, depth=0, **rates)
    model.get_layer("low").bias.assign([1.0, 1, 1, 1])
    kernel = model.get_layer("low").kernel.numpy()
    fitted(model, recipe)
    np.testing.assert_allclose(model.get_layer("low").bias, 1.0, atol=1e-6)
    steps = [1e-12 * (step + 1) / 10 * 0.5 * (1 + np.cos(np.pi * step / 3)) for step in range(3)]
    left = np.prod([1 - rate * 1e9 for rate in steps])
    np.testing.assert_allclose(model.get_layer("low").kernel, kernel * left, rtol=1e-5)


def test_a_run_that_is_resumed_reads_what_the_first_has_measured(tmp_path):
    model, again = network(), network()
    first = default(model, batches(), epochs=2, kept=tmp_path / "recipe.npz")

    def unread():
        raise AssertionError("the data were read")
        yield

    spec = batches().element_spec
    other = tf.data.Dataset.from_generator(unread, output_signature=spec)
    second = default(again, other, epochs=2, kept=tmp_path / "recipe.npz")
    assert second.measured == first.measured
    assert second.kinds == first.kinds
    np.testing.assert_array_equal(again.get_layer("head").kernel, model.get_layer("head").kernel)
    with pytest.raises(ValueError, match="another strength: it was 0.15 and is 0.3"):
        default(network(), batches(), epochs=2, strength=0.3, kept=tmp_path / "recipe.npz")
    changed = network()
    changed.get_layer("low").kernel.assign(2 * changed.get_layer("low").kernel)
    with pytest.raises(ValueError, match="another backbone"):
        default(changed, batches(), epochs=2, kept=tmp_path / "recipe.npz")


def test_views_that_are_asked_for_are_not_measured_and_named():
    recipe = default(network(), batches(), epochs=1, views=["flip"], limits=(0.0, 2.0))
    assert recipe.kinds == ["flip"]
    assert recipe.measured.kinds == ()


@pytest.mark.parametrize(
    ("activation", "units", "targets", "loss"),
    [
        ("softmax", 3, LABELS, "SparseCategoricalCrossentropy"),
        ("softmax", 3, np.eye(3)[LABELS], "CategoricalCrossentropy"),
        ("sigmoid", 3, np.eye(3)[LABELS], "BinaryCrossentropy"),
        ("sigmoid", 1, (LABELS == 1)[:, None] * 1.0, "BinaryCrossentropy"),
    ],
)
def test_the_loss_is_the_one_that_the_head_was_solved_for(activation, units, targets, loss):
    model = network(activation, units)
    recipe = default(model, batches(y=targets), epochs=2, views=[])
    assert type(recipe.loss).__name__ == loss
    first, last = fitted(model, recipe).history["loss"]
    assert last < first


def test_a_compiled_model_keeps_its_loss():
    model = network(None, 1)
    model.compile("adam", "mse")
    recipe = default(model, batches(y=LABELS * 2.0), epochs=2)
    assert recipe.loss == "mse"
    assert recipe.measured.link == "identity"
    assert "has a squared error of " in str(recipe)


def test_says_what_was_measured_and_what_is_left_out():
    """Left and right are two classes here, so that a mirror exchanges them."""
    side = RNG.integers(0, 2, 80)
    x = RNG.uniform(0, 0.1, size=(80, 8, 8, 1)).astype("float32")
    x[:, :, :4] += side[:, None, None, None]
    x[:, :, 4:] += 1 - side[:, None, None, None]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.AveragePooling2D((8, 4), name="sides"),
            keras.layers.Conv2D(2, 1, name="body"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, "softmax", name="head"),
        ]
    )
    recipe = default(model, batches(x, side), epochs=1)
    assert "flip" not in recipe.kinds
    assert "color" in recipe.kinds
    text = str(recipe)
    assert "The head, solved on 80 samples, has an accuracy of " in text
    assert "Views (flip) change its loss by +" in text
    assert "of the time. They are left out." in text
    assert "Then 2 of 2 stages train, 1 epoch, at a rate of up to 0.0002." in text


def test_texts_and_tables_have_no_views():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="body"), keras.layers.Dense(2, "softmax")]
    )
    data = batches(RNG.normal(size=(48, 4)).astype("float32"), LABELS % 2)
    recipe = default(model, data, epochs=1)
    assert recipe.measured.kinds == ()
    assert recipe.rate == 2e-4
    assert recipe.train is data
    with pytest.raises(ValueError, match="Views are made of batches"):
        default(model, data, epochs=1, views=["flip"])


@pytest.mark.parametrize(
    ("data", "arguments", "error", "message"),
    [
        ((PICTURES, LABELS), {}, TypeError, "takes a tf.data.Dataset of batches"),
        (batches().repeat(), {}, ValueError, "The data never end"),
        (batches(y=LABELS + 1), {}, ValueError, "fit neither as rows of 3 nor as class ids"),
        (batches().take(0), {"limits": (0.0, 1.0)}, ValueError, "The data are empty"),
        (batches(), {"epochs": 0}, ValueError, "epochs is an integer of at least 1"),
        (batches(), {"depth": "nowhere"}, ValueError, "nowhere"),
        (batches(), {"depth": 3}, ValueError, "no weights to train|leaves nothing|nothing to train"),
        (batches(), {"views": ["cutmix"]}, ValueError, "no views of the kinds"),
    ],
)
def test_refuses_and_changes_nothing(data, arguments, error, message):
    model = network()
    before = model.get_weights()
    with pytest.raises(error, match=message):
        default(model, data, **arguments)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
