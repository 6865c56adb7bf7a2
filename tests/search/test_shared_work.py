"""What trials share: made once, found again by later processes, and only where it belongs."""

import json

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerasft import _keras
from kerasft.cache.callback import PrefixCache
from kerasft.probe import TO_FINE_TUNE, solve_head
from kerasft.search.shared_head import BestHead
from kerasft.search.shared_work import Sharing
from kerasft.stages.find import find_stages

COUNT, BATCH = 32, 8


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(COUNT, 4)).astype("float32")
    return {"x": x, "y": (x[:, 0] > 0).astype("int64"), "batch_size": BATCH}


def stages_of(units=3, loss="sparse_categorical_crossentropy", frozen_seed=1, head_seed=2, noise=0.0):
    """A compiled model of three stages: two of a backbone, and a head with dropout."""
    keras.utils.set_random_seed(frozen_seed)
    layers = [keras.layers.Dense(6, "tanh", name="low"), keras.layers.Dense(6, "tanh", name="high")]
    backbone = keras.Sequential([keras.Input((4,)), *layers])
    keras.utils.set_random_seed(head_seed)
    noisy = [keras.layers.GaussianNoise(noise)] if noise else []
    head = [keras.layers.Dropout(0.5), keras.layers.Dense(units, activation="softmax")]
    model = keras.Sequential([keras.Input((4,)), *noisy, backbone, *head])
    model.compile("adam", loss, metrics=["accuracy"])
    return find_stages(model)


def weights(stages):
    return [v.numpy() for stage in stages for v in stage.weights]


def head(stages):
    return [v.numpy() for v in stages[-1].weights]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def fits(monkeypatch):
    """How many epochs each call of `fit` was for."""
    called, fit = [], keras.Model.fit

    def spy(self, *args, **kwargs):
        called.append(kwargs["epochs"])
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(keras.Sequential, "fit", spy)
    return called


def test_a_head_is_trained_once_and_the_rest_is_left_as_it_was(tmp_path, fits):
    sharing, arguments = Sharing(True, None, 0), data()
    stages = stages_of()
    before, random = weights(stages), _keras.random_state(stages.model)
    optimizer, flags = stages.model.optimizer, [layer.trainable for layer in stages.model.layers]
    prepared = sharing.prepare(tmp_path, stages, [0, 1], arguments)
    assert prepared.reason is None and prepared.data
    after = weights(stages)
    assert same(before[:4], after[:4]) and not same(before[4:], after[4:])
    assert _keras.random_state(stages.model) == random
    assert stages.model.optimizer is optimizer and not optimizer.built
    assert [layer.trainable for layer in stages.model.layers] == flags
    other = stages_of(head_seed=7)
    sharing.prepare(tmp_path, other, [0, 1], arguments)
    assert fits == [3] and same(head(other), head(stages))


@pytest.mark.parametrize("kind", ["arrays", "batches", "endless"])
def test_a_head_of_one_dense_layer_is_the_linear_probe(tmp_path, kind):
    arguments = data()
    x, y = arguments["x"], arguments["y"]
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    if kind == "batches":
        arguments = {"x": batches, "shuffle": False}
    if kind == "endless":
        arguments = {"x": batches.repeat(), "steps_per_epoch": COUNT // BATCH, "shuffle": False}
    stages, other = stages_of(), stages_of()
    Sharing(True, None, 0).prepare(tmp_path, stages, [1], arguments)
    solve_head(other.model, [(x, y)], standard_errors=TO_FINE_TUNE)
    for mine, theirs in zip(head(stages), head(other), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_a_head_without_a_bias_and_data_that_are_read_once_are_trained(tmp_path, fits):
    layers = [keras.layers.Dense(6, "tanh", name="low"), keras.layers.Dense(6, "tanh", name="high")]
    end = keras.layers.Dense(3, activation="softmax", use_bias=False)
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([keras.Input((4,)), *layers]), end])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    Sharing(True, None, 0).prepare(tmp_path / "plain", find_stages(model), [1], data())

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return COUNT // BATCH

        def __getitem__(self, index):
            rows = slice(index * BATCH, (index + 1) * BATCH)
            return data()["x"][rows], data()["y"][rows]

    Sharing(True, None, 0).prepare(tmp_path / "rows", stages_of(), [1], {"x": Rows()})
    assert fits == [30, 30]


def test_a_damaged_head_is_trained_again(tmp_path, fits):
    sharing, stages = Sharing(True, None, 0), stages_of()
    sharing.prepare(tmp_path, stages, [0, 1], data())
    (file,) = (tmp_path / "heads").glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    again = stages_of(head_seed=7)
    Sharing(True, None, 0).prepare(tmp_path, again, [0, 1], data())
    assert fits == [3, 3] and not same(head(again), head(stages_of(head_seed=7)))


def test_the_head_goes_back_to_its_best_epoch(tmp_path):
    head = stages_of()[-1]
    watch = BestHead(head, keras_tuner.Objective("val_accuracy", "max"))
    watch.set_model(model := keras.Sequential([]))
    kept = []
    for epoch, value in enumerate([0.5, 0.7, 0.6, 0.7, 0.1, 0.2, 0.3]):
        head.weights[0].assign(head.weights[0] + 1)
        kept.append(head.weights[0].numpy())
        watch.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": value})
        assert model.stop_training == (epoch == 6)  # five epochs after the best one
    watch.on_train_end()
    np.testing.assert_array_equal(head.weights[0].numpy(), kept[1])
    by_loss = BestHead(head, keras_tuner.Objective("never_logged", "max"))
    by_loss.set_model(model)
    for loss in (3.0, 1.0, 2.0):
        by_loss.on_epoch_end(0, {"loss": 0.0, "val_loss": loss})
    assert by_loss.best == 1.0


def test_records_are_made_at_the_depths_that_trials_come_to(tmp_path):
    Sharing(True, None, 0).prepare(tmp_path, stages_of(), [0, 1], data())
    names = [p.name for p in (tmp_path / "records").glob("*-train")]
    assert len(names) == 2  # at the head and at depth 1; at depth 0 is nothing to record


def test_another_process_reads_the_data_once_and_finds_it(tmp_path, fits):
    first = Sharing(True, None, 0).prepare(tmp_path, stages := stages_of(), [1], data())
    fits.clear()
    second = Sharing(True, None, 0).prepare(tmp_path, other := stages_of(head_seed=7), [1], data())
    assert fits == [1] and first == second and same(head(stages), head(other))


def test_other_data_have_another_name(tmp_path, fits):
    sharing = Sharing(True, None, 0)
    names = [sharing.prepare(tmp_path, stages_of(), [1], data(seed)).data for seed in (0, 1, 0)]
    assert names[0] == names[2] != names[1] and len(fits) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"units": 4},
        {"frozen_seed": 5},
        {"loss": keras.losses.SparseCategoricalCrossentropy(ignore_class=2)},
    ],
)
def test_another_head_backbone_or_loss_has_a_head_of_its_own(tmp_path, fits, changes):
    sharing, arguments = Sharing(True, None, 0), data()
    sharing.prepare(tmp_path, stages_of(), [1], arguments)
    sharing.prepare(tmp_path, stages_of(**changes), [1], arguments)
    assert len(fits) == 2 and len(list((tmp_path / "heads").glob("*.npz"))) == 2


def test_a_loss_has_the_same_name_in_each_process(tmp_path):
    for _ in range(2):
        loss = keras.losses.SparseCategoricalCrossentropy()
        Sharing(True, None, 0).prepare(tmp_path, stages_of(loss=loss), [1], data())
    assert len(list((tmp_path / "heads").glob("*.npz"))) == 1


def test_without_a_warm_start_heads_stay_as_they_are(tmp_path):
    stages = stages_of()
    before = weights(stages)
    prepared = Sharing(False, None, 0).prepare(tmp_path, stages, [1], data())
    assert prepared.reason is None and same(weights(stages), before)


def test_why_nothing_is_shared_and_that_nothing_is_left_behind(tmp_path):
    prepared = Sharing(True, None, 0).prepare(tmp_path, stages_of(noise=0.1), [1], data())
    assert prepared.data is None and "draws random numbers" in prepared.reason
    assert not list(tmp_path.rglob("*.npz"))


def test_data_that_change_from_epoch_to_epoch_are_not_shared(tmp_path):
    given = data()
    rng = np.random.default_rng()

    def rows():
        yield from zip(given["x"] + rng.normal(size=(COUNT, 4)), given["y"], strict=True)

    signature = (tf.TensorSpec((4,), tf.float32), tf.TensorSpec((), tf.int64))
    changing = tf.data.Dataset.from_generator(rows, output_signature=signature).batch(BATCH)
    changing = changing.apply(tf.data.experimental.assert_cardinality(COUNT // BATCH))
    stages = stages_of()
    before = weights(stages)
    prepared = Sharing(True, None, 0).prepare(tmp_path, stages, [1], {"x": changing, "shuffle": False})
    assert prepared.reason and same(weights(stages), before)


def test_a_trials_cache_begins_with_the_record(tmp_path):
    sharing, arguments = Sharing(True, None, 0), data()
    prepared = sharing.prepare(tmp_path, stages_of(), [1], arguments)
    stages = stages_of()
    for stage in stages[:-1]:
        for layer in stage.layers:
            layer.trainable = False
    cache = sharing.cache(tmp_path, 3, prepared)
    assert isinstance(cache, PrefixCache) and cache.seed == 3
    stages.model.fit(**arguments, epochs=2, verbose=0, callbacks=[cache])
    assert cache.reason is None and cache.report.replayed == [True, True]
    said = json.loads(next((tmp_path / "heads").glob("*.json")).read_text())
    assert said["samples"] == COUNT
