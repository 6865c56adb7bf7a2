"""What a search has found: its models and recipes, in later processes and for plain `fit` as well."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from small_searches import BATCH, FIXED, build_model, data, grid, searched

import kerasft
from kerasft import FreezeDepthSearch
from kerasft.search.find_tuner import tuner_of
from kerasft.search.loss import targets

VALIDATION = data(24, 1)


def uncompiled():
    return build_model(compiled=False)


def accuracy(model):
    return model.evaluate(*VALIDATION, verbose=0, return_dict=True)["accuracy"]


def test_a_later_process_finds_the_loss_the_models_and_the_recipes(tmp_path, caplog):
    options = FIXED | {"learning_rate": [0.05, 0.01], "share": False}
    first = FreezeDepthSearch(uncompiled, [2], ["head_then_all"], **options)
    searched(grid(first, tmp_path))
    assert caplog.text.count("The loss is guessed: sparse_categorical_crossentropy, by targets that are") == 1
    best = max(r.score for r in first.results())
    # Another process has another search and another tuner, which reads the folder.
    search = FreezeDepthSearch(uncompiled, [2], ["head_then_all"], **options)
    tuner = grid(search, tmp_path)
    for model in (
        tuner.get_best_models()[0],
        search.best_model(),
        tuner.load_model(tuner.oracle.get_best_trials()[0]),
    ):
        assert accuracy(model) == pytest.approx(best)
    hp = tuner.get_best_hyperparameters()[0]
    again = FreezeDepthSearch(uncompiled, [2], ["head_then_all"], **options)
    tuner = grid(again, tmp_path)
    history = tuner.hypermodel.build(hp).fit(*data(), epochs=1, verbose=0).history
    assert {"loss", "accuracy"} <= set(history)
    assert [r.trial for r in again.results()] == ["000", "001"]
    other = FreezeDepthSearch(uncompiled, [2], ["head_then_all"], loss="mse", **options)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="another loss: it was .*is .*mse"):
        other.results(grid(other, tmp_path))
    assert caplog.text.count("The loss is guessed") == 1


class Squares(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x**2))
        return x


def test_a_model_that_its_author_compiled_without_a_loss_gets_none(tmp_path, caplog):
    def build():
        layers = [keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="one"), Squares()]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile("sgd")
        return model

    search = FreezeDepthSearch(build, [0], ["head_then_all"], **FIXED | {"share": False})
    tuner = grid(search, tmp_path, objective="val_loss")
    searched(tuner, epochs=2)
    (record,) = search.results()
    squares = np.mean(search.best_model().predict(VALIDATION[0], verbose=0) ** 2)
    assert record.score == pytest.approx(squares, rel=1e-4) and "guessed" not in caplog.text


def test_a_loss_that_cannot_be_told_ends_the_search_before_it_trains(tmp_path):
    def build():
        layers = [keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="one")]
        return keras.Sequential([keras.Input((4,)), *layers])

    search = FreezeDepthSearch(build, [0], ["head_then_all"], **FIXED)
    tuner = grid(search, tmp_path, objective="val_loss")
    with pytest.raises(keras_tuner.errors.FatalValueError, match='"mse".*FreezeDepthSearch.loss=') as raised:
        searched(tuner, train=(data()[0], data()[1] % 2), validation_data=(VALIDATION[0], VALIDATION[1] % 2))
    assert "BinaryCrossentropy(from_logits=True)" in str(raised.value)


def test_later_data_that_contradict_the_guess_end_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "MOST_BATCHES", 1)

    class Later(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return np.ones((4, 4), "float32"), np.full((4, 3), [0, 0, 1] if i == 0 else [0, 1, 1])

    search = FreezeDepthSearch(uncompiled, [2], ["frozen_head"], **FIXED | {"share": False})
    tuner = grid(search, tmp_path, objective="loss")
    message = "categorical_crossentropy.*the first 1 batches with 4 samples.*Later targets are something else"
    with pytest.raises(keras_tuner.errors.FatalValueError, match=message):
        tuner.search(Later(), epochs=1, verbose=0)


def test_the_tuner_of_a_search_is_found_if_there_is_one_alone(tmp_path):
    search = FreezeDepthSearch(build_model, [2], ["frozen_head"], **FIXED)
    assert tuner_of(search) is None
    one = grid(search, tmp_path / "a")
    assert tuner_of(search) is one
    other = grid(search, tmp_path / "b")
    assert tuner_of(search) is None
    with pytest.raises(ValueError, match="not exactly one tuner in it has this FreezeDepthSearch"):
        search.results()
    assert search.results(one) == search.results(other) == []


# --- plain fit


def built(recipe, decay=None, **options):
    """The model of a search with one choice for everything, as keras-tuner gives it for training again."""
    fixed = FIXED | {"layerwise_decay": decay} | options
    return FreezeDepthSearch(sgd_model, [1], [recipe], **fixed).build(keras_tuner.HyperParameters())


def sgd_model():
    model = build_model(compiled=False)
    model.layers[-2].rate = 0.0
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("recipe", "depth", "rate"),
    [("frozen_head", 3, 0.05), ("head_then_all", 1, 0.05), ("linear_probe_then_finetune", 1, 0.005)],
)
def test_a_model_is_built_as_its_recipe_ends(recipe, depth, rate):
    """One step of gradient descent by hand: rate, times 0.5 for each stage below the head, times gradient."""
    model = built(recipe, decay=0.5)
    assert kerasft.freeze_depth(model) == depth
    stages, (x, y) = kerasft.find_stages(model), data()
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy()(y, model(x, training=True))
    before = [[w.numpy() for w in stage.weights] for stage in stages]
    trained = [w for stage in stages for w in stage.weights if w.trainable]
    gradients = dict(
        zip([id(w) for w in trained], tape.gradient(loss, [w.value for w in trained]), strict=True)
    )
    model.fit(x, y, batch_size=len(x), verbose=0)
    for index, stage in enumerate(stages):
        for weight, was in zip(stage.weights, before[index], strict=True):
            if index < depth:
                assert np.array_equal(weight, was)
            elif weight.name in ("kernel", "bias"):
                step = rate * (1.0 if recipe == "frozen_head" else 0.5 ** (3 - index)) * gradients[id(weight)]
                np.testing.assert_allclose(weight.numpy(), was - step, atol=1e-6)
                assert np.abs(step).max() > 1e-5


@pytest.mark.parametrize("recipe", ["head_then_all", "one_stage_at_a_time", "linear_probe_then_finetune"])
def test_with_the_callbacks_plain_fit_is_the_trial(tmp_path, recipe):
    options = FIXED | {"layerwise_decay": 0.7, "share": False}
    search = FreezeDepthSearch(sgd_model, [1], [recipe], **options)
    tuner = searched(grid(search, tmp_path, objective="val_loss"), epochs=4)
    (record,) = search.results()
    hp = tuner.get_best_hyperparameters()[0]
    model = tuner.hypermodel.build(hp)
    history = model.fit(
        *data(), validation_data=VALIDATION, epochs=4, batch_size=BATCH, shuffle=False, verbose=0,
        callbacks=search.callbacks(hp),
    ).history  # fmt: skip
    np.testing.assert_allclose(history["val_loss"], record.curve, atol=1e-6)
    assert history["freeze_depth"] == record.depths and len(set(record.depths)) > 1
    without = tuner.hypermodel.build(hp).fit(
        *data(), validation_data=VALIDATION, epochs=4, batch_size=BATCH, shuffle=False, verbose=0
    )
    assert np.abs(np.subtract(without.history["val_loss"], record.curve)).max() > 1e-4
