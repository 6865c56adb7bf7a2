"""Records that an earlier run kept serve later runs, and only where they belong."""

import logging

import keras
import numpy as np
import pytest
from cached_fits import BATCH, COUNT, compiled, data, image_model, named_model, with_layer

import kerasft
from kerasft import PrefixCache


def test_a_kept_record_skips_the_recording_epoch(tmp_path):
    options = {"epochs": 4, "batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": data(10)}
    models = []
    for _ in range(2):
        models.append(image_model())
        cache = PrefixCache(tmp_path, keep=True)
        models[-1].fit(*data(), callbacks=[cache], **options)
        assert cache.report.kept == (len(models) == 2)
        # training and validation, of the first run
        assert cache.report.traced_prefixes == (2 if len(models) == 1 else 0)
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    other = image_model()
    other.get_layer("backbone").get_layer("body_conv").kernel.assign_add(
        keras.ops.ones_like(other.get_layer("backbone").get_layer("body_conv").kernel)
    )
    cache = PrefixCache(tmp_path, keep=True)
    other.fit(*data(), callbacks=[cache], **options)
    assert cache.report.traced_prefixes == 2  # other weights
    x, y = data()
    cache = PrefixCache(tmp_path, keep=True)
    image_model().fit(x + 1, y, callbacks=[cache], **options)
    assert cache.report.traced_prefixes == 1  # other training data


def deep_model(depth):
    """Three convolutions, of which the first `depth` are frozen, with the same weights each time."""
    keras.utils.set_random_seed(1)
    convolutions = [
        keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv_{i}") for i in range(3)
    ]
    last = [keras.layers.Flatten(name="flatten"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *convolutions, *last])
    for layer in convolutions[:depth]:
        layer.trainable = False
    return compiled(model)


def test_a_kept_record_serves_runs_with_more_layers_frozen(tmp_path):
    def work(cache):
        return cache.report.traced_prefixes, cache.report.derived_records

    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": data(10)}
    cache = PrefixCache(tmp_path, keep=True)
    deep_model(1).fit(*data(), callbacks=[cache], **options)
    assert work(cache) == (2, 0)  # training and validation
    plain = deep_model(3)
    plain.fit(*data(), **options)
    for derived in (2, 0):  # the second one finds what the first one made of it
        model, cache = deep_model(3), PrefixCache(tmp_path, keep=True)
        model.fit(*data(), callbacks=[cache], **options)
        assert cache.report.kept and cache.report.cut == "flatten"
        assert work(cache) == (0, derived)
        for a, b in zip(plain.weights, model.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    other = deep_model(3)
    other.layers[0].kernel.assign_add(keras.ops.ones_like(other.layers[0].kernel))
    cache = PrefixCache(tmp_path, keep=True)
    other.fit(*data(), callbacks=[cache], **options)
    assert work(cache) == (2, 0)  # the records are not of these weights


def test_a_kept_record_serves_depths_that_a_schedule_comes_through(tmp_path):
    options = {"epochs": 4, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    deep_model(1).fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)

    def train(*callbacks):
        model = deep_model(0)
        unfreezing = kerasft.GradualUnfreezing(kerasft.UnfreezingSchedule.from_depths([3, 2, 1]))
        model.fit(*data(), callbacks=[unfreezing, *callbacks], **options)
        return model

    cache = PrefixCache(tmp_path, keep=True)
    model, plain = train(cache), train()
    assert cache.report.kept and len(list(tmp_path.glob("*-train"))) == 3
    assert cache.report.traced_prefixes == 0  # the prefix did not run
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


def test_a_kept_record_that_was_altered_is_not_used(tmp_path):
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    plain = image_model()
    plain.fit(*data(), **options)
    image_model().fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    (file,) = tmp_path.glob("*/*/values/0.bin")
    content = bytearray(file.read_bytes())
    content[10] ^= 255
    file.write_bytes(content)
    model = image_model()
    model.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


@keras.saving.register_keras_serializable("tests")
class Silent(keras.layers.Layer):
    """Its settings do not say by how much it scales; the one without arguments has none to say."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.hidden = factor

    def call(self, inputs):
        return inputs * self.hidden


class Quiet(Silent):
    """Says nothing of itself by purpose."""

    def get_config(self):
        return {}


@pytest.mark.parametrize("kind", [Silent, Quiet])
def test_a_kept_record_of_layers_that_do_something_else_is_not_used(tmp_path, kind, caplog):
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    with_layer(kind(2.0)).fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    plain, model = with_layer(kind(3.0)), with_layer(kind(3.0))
    plain.fit(*data(), **options)
    with caplog.at_level(logging.WARNING):
        model.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    assert ("is of other layers; it is not used" in caplog.text) == (kind is Quiet)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


def test_a_kept_record_of_a_part_of_the_data(tmp_path):
    x, y = data()
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    image_model().fit(x[:24], y[:24], callbacks=[PrefixCache(tmp_path, keep=True)], **options)
    plain, model, cache = image_model(), image_model(), PrefixCache(tmp_path, keep=True)
    plain.fit(x, y, **options)
    model.fit(x, y, callbacks=[cache], **options)
    for a, b in zip(plain.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
    assert cache.report.replayed == [False, True, True] and cache.report.samples == COUNT


@pytest.mark.parametrize("shuffle", [True, False])
def test_whatever_the_folder_holds_a_run_trains_on_its_own_samples(tmp_path, shuffle):
    """Targets name samples: an epoch has each of its own once, and none of those that validate."""
    x, names = data()[0], np.arange(COUNT, dtype="float32")
    options = {"epochs": 4, "verbose": 0, "shuffle": shuffle}
    earlier = PrefixCache(tmp_path, keep=True, seed=3)
    named_model().fit(x, names, batch_size=BATCH, validation_data=(x, names), callbacks=[earlier], **options)
    model, cache = named_model(), PrefixCache(tmp_path, keep=True, seed=3)
    history = model.fit(x, names, batch_size=5, validation_split=0.5, callbacks=[cache], **options).history
    half = COUNT / 2  # 22 samples that come once, and 22 that do not come
    assert history["identities"] == history["val_identities"] == [half] * 4
    assert history["second_half"] == [0.0] * 4 and history["val_second_half"] == [half] * 4
    assert cache.report.kept and cache.report.samples == half and cache.report.traced_prefixes == 0
    assert cache.report.replayed == [False, True, True, True]
    steps = 4 * np.ceil(half / 5)
    assert int(model.optimizer.iterations) == steps
    plain = named_model()
    plain.fit(x, names, batch_size=5, validation_split=0.5, **options)
    if not shuffle:
        for a, b in zip(plain.weights, model.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)


def test_a_kept_record_and_other_weights_of_samples(tmp_path):
    """What the frozen layers give is the same; a sample with another weight is another sample."""
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    image_model().fit(
        *data(),
        class_weight={0: 1.0, 1: 2.0, 2: 3.0},
        callbacks=[PrefixCache(tmp_path, keep=True)],
        **options,
    )
    for changed in (
        {"class_weight": {0: 3.0, 1: 0.5, 2: 1.0}},
        {"sample_weight": np.linspace(0, 2, COUNT)},
        {"steps_per_epoch": 3},
    ):
        plain, model = image_model(), image_model()
        given = {**options, "epochs": 2 if "steps_per_epoch" in changed else 3, **changed}
        plain.fit(*data(), **given)
        model.fit(*data(), callbacks=[PrefixCache(tmp_path, keep=True)], **given)
        for a, b in zip(plain.weights, model.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=a.path)
