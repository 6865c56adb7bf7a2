"""Weights of classes: by hand, against scikit-learn's, and in jobs against plain Keras."""

import functools
import json

import keras
import numpy as np
import pytest
import small_texts
import tensorflow as tf
from command_line import kerasft_command, tiny_backbone
from sklearn.utils.class_weight import compute_class_weight

from kerasft import Phase, UnfreezingSchedule
from kerasft.commands import finetune_job, image_task, search_job
from kerasft.commands.class_weights import read_class_weights, say_weights, weights_of
from kerasft.commands.classifier import build_classifier, load_for
from kerasft.commands.settings import FinetuneSettings, SearchSettings
from kerasft.data import load_dataset, load_texts
from kerasft.probe import TO_FINE_TUNE, solve_head

NAMES = ("cat", "dog", "owl")


def test_balanced_weights_by_hand_and_by_scikit_learn():
    found = weights_of("balanced", NAMES, (6, 3, 1))
    assert found == pytest.approx({0: 10 / 18, 1: 10 / 9, 2: 10 / 3})
    labels = np.repeat([0, 1, 2], (6, 3, 1))
    by_scikit_learn = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(list(found.values()), by_scikit_learn)
    assert weights_of(None, NAMES, (6, 3, 1)) is None


def test_weights_by_label_are_in_the_order_of_the_classes():
    given = read_class_weights('{"owl": 3, "cat": 0.5, "dog": 1}')
    assert weights_of(given, NAMES, (1, 1, 1)) == {0: 0.5, 1: 1.0, 2: 3.0}
    assert read_class_weights(" balanced ") == "balanced"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("even", "takes `balanced`, or a weight for each label as JSON: .*received 'even', which is no JSON"),
        ("[1, 2]", r"takes `balanced`.*received \[1, 2\]"),
        ('"balanced"', "takes `balanced`.*received 'balanced'"),
        ('{"cat": 0, "dog": 1, "owl": 1}', "weight of 'cat' in --class-weights is a number above 0; rec.* 0"),
        ('{"cat": 1, "dog": -1, "owl": 1}', "weight of 'dog' .*above 0; received -1"),
        ('{"cat": 1, "dog": NaN, "owl": 1}', "weight of 'dog' .*received nan"),
        ('{"cat": 1, "dog": Infinity, "owl": 1}', "weight of 'dog' .*received inf"),
        ('{"cat": 1, "dog": "2", "owl": 1}', "weight of 'dog' .*received '2'"),
        ('{"cat": 1, "dog": true, "owl": 1}', "weight of 'dog' .*received True"),
        ('{"cat": 1, "cat": 2, "dog": 1, "owl": 1}', "gives 'cat' more than one weight"),
        ('{"cat": 1, "dog": 1}', "no weight is given for 'owl'. The labels are 'cat', 'dog', 'owl'"),
        ('{"cat": 1, "dog": 1, "owl": 1, "Cat": 1}', "there is no label 'Cat'. The labels"),
        ("{}", "no weight is given for 'cat', 'dog', 'owl'"),
    ],
)
def test_wrong_weights_are_refused(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        weights_of(read_class_weights(text), NAMES, (1, 1, 1))


def test_a_class_without_training_samples_cannot_be_balanced():
    with pytest.raises(ValueError, match="there is none of 'dog'"):
        weights_of("balanced", NAMES, (4, 0, 2))


def test_uneven_classes_are_said_beyond_three_times():
    said = []
    say_weights(None, NAMES, (9, 3, 4), said.append)
    assert said == []
    say_weights(None, NAMES, (4, 3, 10), said.append)
    assert len(said) == 1 and "'owl' has 10 to train, 'dog' 3. --class-weights balanced" in said[0]
    say_weights(None, NAMES, (4, 0, 1), said.append)
    assert "'cat' has 4 to train, 'dog' 0." in said[1]
    say_weights({0: 0.5, 1: 1.0, 2: 10 / 3}, NAMES, (4, 3, 10), said.append)
    assert said[2:] == ["Weights of the classes in training: cat 0.5, dog 1, owl 3.333."]


def write_uneven(root):
    """30 dark images and 8 light ones, hard to tell apart."""
    rng = np.random.default_rng(0)
    for name, count, shift in (("dark", 30, 0), ("light", 8, 20)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = (rng.integers(0, 200, (16, 16, 3)) + shift).astype("uint8")
            (root / name / f"{i}.png").write_bytes(tf.io.encode_png(image).numpy())
    return root


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("hub"), blocks=2)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    return write_uneven(tmp_path_factory.mktemp("uneven") / "data")


def load(folder):
    return load_dataset(folder, image_size=16, batch_size=64)


def test_the_counts_are_those_of_the_training_part(uneven, tmp_path):
    data = load(uneven)
    labels = np.concatenate([y.numpy() for _, y in data.train])
    assert data.class_counts == (np.sum(labels == 0), np.sum(labels == 1))
    assert sum(data.class_counts) == data.train_size < 38
    rows = [(f"film {i}", "yes" if i % 5 else "no") for i in range(40)]
    texts = load_texts(small_texts.write_table(tmp_path / "texts.csv", rows))
    labels = np.concatenate([y.numpy() for _, y in texts.train])
    assert texts.class_counts == tuple(np.bincount(labels)) and texts.class_names == ("no", "yes")


HEAD = UnfreezingSchedule([Phase("head", 3)])
GIVEN = {"input_range": (0.0, 1.0), "seed": 3}


@pytest.mark.training
@pytest.mark.process
def test_a_job_trains_as_plain_keras_does_with_class_weight(handle, uneven, tmp_path, monkeypatch):
    """One batch of all images and no dropout: nothing depends on order and random numbers."""

    def without_dropout(*given):
        model = build_classifier(*given)
        model.get_layer("dropout").rate = 0.0
        return model

    monkeypatch.setattr(image_task, "build_classifier", without_dropout)

    def job(name, weights):
        settings = FinetuneSettings(
            handle, tmp_path / name, 16, epochs=(3,), schedule=HEAD, precisions=("float32",),
            class_weights=weights, **GIVEN,
        )  # fmt: skip
        outcome = finetune_job.run(load(uneven), settings)
        report = json.loads((tmp_path / name / "report.json").read_text())
        return outcome, report

    outcome, report = job("weighted", "balanced")
    without, other = job("without", None)
    data = load(uneven)
    dark, light = data.class_counts
    weights = {0: (dark + light) / (2 * dark), 1: (dark + light) / (2 * light)}
    named = {"dark": pytest.approx(weights[0]), "light": pytest.approx(weights[1])}
    assert report["class_weights"] == outcome.class_weights == named
    assert other["class_weights"] is without.class_weights is None
    assert outcome.cache.replayed == without.cache.replayed == [False, False, True]

    def plain(class_weight):
        data = load(uneven)
        keras.utils.set_random_seed(3)
        backbone = load_for(FinetuneSettings(handle, tmp_path, 16))
        model = without_dropout(backbone, 2, 16, (0.0, 1.0))
        solve_head(model, data.train, class_weight=class_weight, standard_errors=TO_FINE_TUNE, seed=3)
        backbone.trainable = False
        optimizer = keras.optimizers.AdamW(1e-3)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model.fit(
            data.train,
            validation_data=data.validation,
            epochs=3,
            shuffle=False,
            verbose=0,
            class_weight=class_weight,
        ).history

    for found, expected in ((report, plain(weights)), (other, plain(None))):
        for name in ("loss", "val_loss"):
            np.testing.assert_allclose(found["history"][name], expected[name], rtol=1e-4, err_msg=name)
    assert abs(report["history"]["loss"][0] - other["history"]["loss"][0]) > 1e-2


@pytest.mark.training
def test_the_trials_of_a_search_train_with_them(handle, uneven, tmp_path, monkeypatch):
    fit, seen = keras.Model.fit, []

    @functools.wraps(fit)
    def spy(self, *args, **kwargs):
        seen.append(kwargs.get("class_weight"))
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", spy)
    settings = SearchSettings(
        handle, tmp_path / "out", 16, trials=2, epochs=1, tuner="random", recipes=("frozen_head",),
        class_weights={"light": 3, "dark": 0.5}, **GIVEN,
    )  # fmt: skip
    outcome = search_job.run(load(uneven), settings)
    assert len(seen) >= 2 and all(weights == {0: 0.5, 1: 3.0} for weights in seen)
    assert "class_weights.json" in outcome.files
    assert json.loads((tmp_path / "out" / "class_weights.json").read_text()) == {"dark": 0.5, "light": 3.0}


@pytest.mark.parametrize("command", ["finetune", "search"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ('{"dark": 1, "light": 0}', "weight of 'light' in --class-weights is a number above 0"),
        ('{"dark": 1, "white": 2}', "there is no label 'white'; no weight is given for 'light'"),
    ],
)
def test_commands_refuse_wrong_weights_before_they_train(handle, uneven, tmp_path, command, weights, message):
    words = [command, uneven, "--backbone", handle, "--out", tmp_path / "out", "--image-size", 16]
    status, output = kerasft_command(*words, "--class-weights", weights)
    assert status == 1 and message in " ".join(output.split()), output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.process
def test_texts_have_them_as_well(tmp_path):
    encoder = small_texts.write_encoder(tmp_path)
    rows = [row for i, row in enumerate(small_texts.texts(80)) if i % 2 == 0 or i % 8 == 1]
    data = small_texts.write_table(tmp_path / "texts.csv", rows)
    words = ["finetune", data, "--backbone", encoder, "--epochs", "1,1", "--length", 9, "--batch-size", 8]
    status, output = kerasft_command(*words, "--out", tmp_path / "even")
    assert status == 0 and "The classes are uneven: 'yes' has" in " ".join(output.split()), output
    status, output = kerasft_command(*words, "--out", tmp_path / "out", "--class-weights", "balanced")
    assert status == 0 and "Weights of the classes in training: no" in " ".join(output.split()), output
    no, yes = load_texts(data).class_counts
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("even", "out")]
    assert reports[0]["class_weights"] is None
    assert reports[1]["class_weights"] == pytest.approx(
        {"no": (no + yes) / 2 / no, "yes": (no + yes) / 2 / yes}
    )
    assert reports[0]["history"]["loss"][0] != pytest.approx(reports[1]["history"]["loss"][0], rel=1e-4)
