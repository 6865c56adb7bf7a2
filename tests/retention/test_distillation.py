"""Learning without forgetting: two heads over one backbone, the original's scores, and their loss by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasft
from kerasft import DistillationLoss, GradualUnfreezing, Phase, PrefixCache


def nested(make_backbone, units, name):
    """A backbone in a classifier with dropout before the head."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(make_backbone()(inputs))
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(
        inputs, keras.layers.Dense(units, name=name, activation="softmax")(x), name=name + "_net"
    )


def flat(units, name, seed):
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((6,))
    for number in range(2):
        y = keras.layers.Dense(6, "relu", name=f"block_{number}_a")(x)
        x = keras.layers.Add()([x, keras.layers.Dense(6, name=f"block_{number}_b")(y)])
    x = keras.layers.ReLU()(x)
    return keras.Model(
        inputs, keras.layers.Dense(units, name=name, activation="softmax")(x), name="flat_" + name
    )


@pytest.mark.parametrize("kind", ["nested", "flat"])
def test_both_heads_read_the_models_backbone(kind, make_backbone):
    if kind == "nested":
        original, model = nested(make_backbone, 5, "old"), nested(make_backbone, 3, "new")
    else:
        original, model = flat(5, "old", 0), flat(3, "new", 1)
    x = np.random.default_rng(0).uniform(size=(4, *model.input_shape[1:])).astype("float32")
    both = kerasft.with_original_head(model, original)
    new, old = both(x, training=False)
    np.testing.assert_allclose(new, model(x, training=False), rtol=1e-5)
    # the original with the model's backbone, made by hand
    by_hand = keras.models.clone_model(original)
    body = len(original.get_weights()) - 2
    by_hand.set_weights(model.get_weights()[:body] + original.get_weights()[body:])
    np.testing.assert_allclose(old, by_hand(x, training=False), rtol=1e-5)
    assert np.abs(np.asarray(old) - original(x, training=False)).max() > 1e-4
    held = {id(v) for v in both.variables}
    assert all(id(v) in held for v in model.weights)
    assert not any(id(v) in held for v in original.weights)
    assert both.count_params() == model.count_params() + original.layers[-1].count_params()


def test_a_backbone_that_both_models_hold(make_backbone):
    backbone = make_backbone()

    def net(units, name):
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
        return keras.Model(backbone.input, keras.layers.Dense(units, name=name)(pooled))

    original, model = net(5, "old"), net(3, "new")
    head = original.layers[-1].kernel.numpy()
    both = kerasft.with_original_head(model, original)
    x = np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(both(x, training=False)[1], original(x, training=False), rtol=1e-5)
    scored = kerasft.with_original_scores(tf.data.Dataset.from_tensors((x, np.zeros(4))), original)
    before = np.asarray(original(x, training=False))
    both.compile("sgd", ["mse", "mse"])
    both.fit(x, [np.ones((4, 3)), np.ones((4, 5))], verbose=0)
    np.testing.assert_array_equal(original.layers[-1].kernel, head)  # its head was copied
    assert np.abs(np.asarray(original(x, training=False)) - before).max() > 1e-6  # the backbone was not
    ((_, (_, scores)),) = scored
    np.testing.assert_allclose(scores, before, rtol=1e-5)  # the teacher is a copy


@pytest.mark.parametrize("from_logits", [True, False])
def test_the_loss_equals_the_papers(from_logits):
    """Li & Hoiem (2016), equation 4: y' = y^(1/T) / sum y^(1/T)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 4))
    p, q = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    soft = [v ** (1 / 3) / (v ** (1 / 3)).sum(-1, keepdims=True) for v in (p, q)]
    expected = -np.mean(np.sum(soft[0] * np.log(soft[1]), -1))
    loss = DistillationLoss(temperature=3.0, from_logits=from_logits)
    assert float(loss(*(logits if from_logits else (p, q)))) == pytest.approx(expected, rel=1e-5)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (copy.temperature, copy.from_logits) == (3.0, from_logits)


def test_it_trains_in_fit_with_a_schedule_the_cache_and_rates(image_model, image_data):
    x, y = image_data
    original = image_model
    model = keras.models.clone_model(image_model)
    model.set_weights(image_model.get_weights())
    both = kerasft.with_original_head(model, original, shared="head")
    assert kerasft.find_stages(both).names == ["stem", "block_1", "block_2", "head"]
    data = kerasft.with_original_scores(tf.data.Dataset.from_tensor_slices((x, y)).batch(8), original)
    optimizer = kerasft.with_lr_multipliers(keras.optimizers.Adam(0.01), kerasft.layerwise_decay(both, 0.5))
    kerasft.with_l2_sp(optimizer, 0.1, both)
    ce = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    both.compile(optimizer, [ce, DistillationLoss(from_logits=True)], loss_weights=[1.0, 0.5])
    cache = PrefixCache()
    kept, stem = original.get_weights(), model.get_layer("backbone").get_layer("stem_conv").kernel.numpy()
    schedule = GradualUnfreezing([Phase("head", 2), Phase("block_2", 1)])
    history = both.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[schedule, cache]).history
    assert cache.reason is None and np.all(np.isfinite(history["loss"]))
    for value, now in zip(kept, original.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)
    np.testing.assert_array_equal(model.get_layer("backbone").get_layer("stem_conv").kernel, stem)
    assert not np.array_equal(model.get_layer("logits").kernel, original.get_layer("logits").kernel)


def test_replay_trains_with_the_cache(image_model, image_data):
    x, y = image_data
    model = keras.models.clone_model(image_model)
    model.set_weights(image_model.get_weights())
    both = kerasft.with_original_head(model, image_model, shared="head")
    data = kerasft.replay(tf.data.Dataset.from_tensor_slices((x, y)).batch(8), (x[:6], y[:6]), share=0.2)
    ce = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    both.compile(keras.optimizers.Adam(0.01), [ce, ce])
    kerasft.freeze(both, "block_2")
    cache = PrefixCache()
    history = both.fit(data, epochs=4, verbose=0, shuffle=False, callbacks=[cache]).history["loss"]
    assert cache.reason is None and history[-1] < history[0]


def test_what_is_wrong_is_named(make_backbone):
    original, model = nested(make_backbone, 5, "old"), nested(make_backbone, 3, "new")
    with pytest.raises(ValueError, match="no head of its own"):
        kerasft.with_original_head(model, original.layers[1])
    with pytest.raises(ValueError, match="not the original"):
        kerasft.with_original_head(model, flat(3, "new", 0))
    with pytest.raises(TypeError, match="the original with its head"):
        kerasft.with_original_head(model, original.get_weights())
    scaled = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), *model.layers[1:]])
    with pytest.raises(ValueError, match="compute something else"):
        kerasft.with_original_head(scaled, original)
    with pytest.raises(TypeError, match="tf.data.Dataset of batches"):
        kerasft.with_original_scores((np.zeros(3), np.zeros(3)), original)
    with pytest.raises(TypeError, match="the original as a keras.Model"):
        kerasft.with_original_scores(tf.data.Dataset.from_tensors((1, 2)), "original")
    with pytest.raises(ValueError, match="temperature is a number above 0"):
        DistillationLoss(0)
