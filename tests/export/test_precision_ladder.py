"""All precisions at once: files, table, figure and the choice."""

import dataclasses
import json
import logging
import sys

import keras
import numpy as np
import pytest
from kerasft.export import precision_ladder
from kerasft.export.contract import Parity, Quality, Report, Speed
from kerasft.export.precision_ladder import VARIANTS, choose, ladder
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


def report(name, size, ms, drop):
    return Report(
        path=f"{name}.tflite", precision=name, io="int8" if name == "int8_io" else "float",
        made_by="converter", size_bytes=size, sha256="", inputs=(), outputs=(), operations={}, dtypes={},
        labels=None, input_range=None, normalization=None, preprocessing="none", metadata=False,
        parity=Parity(0.0, 0.0, 0.0, 1), quality=Quality(100, 1.0, 0.9, 0.9 - drop, drop, (0.0, 0.0)),
        speed=Speed({"1": ms, "2": ms}, 1, 0), versions={},
    )  # fmt: skip


REPORTS = {
    name: report(name, *numbers)
    for name, numbers in {
        "float32": (1000, 10.0, 0.0),
        "float16": (500, 10.0, 0.0),
        "weight_only": (260, 10.0, 0.005),
        "dynamic": (255, 15.0, 0.008),
        "int8": (240, 4.0, 0.03),
        "int8_io": (235, 3.0, 0.03),
    }.items()
}


@pytest.mark.parametrize(
    ("limits", "choice", "reason"),
    [
        ((0.05,), "int8", "the smallest within the limits"),
        ((0.01,), "weight_only", "fastest of weight_only, dynamic.*int8 loses 3.0 points"),
        ((0.001,), "float16", "weight_only loses 0.5 points"),
        ((0.05, 239), "int8_io", "int8 has 240 bytes"),  # only where no other is left
        ((0.05, None, 9.0), "int8", "float32 takes 10.0 ms"),
        ((0.01, None, 9.0), None, "No variant keeps the limits: float32 takes 10.0 ms; .*int8 loses"),
    ],
)
def test_the_choice_is_the_smallest_within_the_limits(limits, choice, reason):
    import re

    found, why = choose(REPORTS, *limits)
    assert found == choice and re.search(reason, why)


def test_without_accuracies_size_and_time_decide():
    bare = {name: dataclasses.replace(r, quality=None) for name, r in REPORTS.items()}
    assert choose(bare, 0.0)[0] == "int8"


def test_six_files_a_table_and_a_figure(model, tmp_path, monkeypatch):
    reads = []
    original = precision_ladder.Subject.qualities
    monkeypatch.setattr(
        precision_ladder.Subject, "qualities", lambda self, files: reads.append(1) or original(self, files)
    )
    found = ladder(model, tmp_path / "out", holdout=images(60, 1), representative_data=images())
    assert list(found.reports) == list(VARIANTS) and found.failures == {} and len(reads) == 1
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {*(f"{name}.tflite" for name in VARIANTS), "ladder.json", "ladder.png"}
    for name, made in found.reports.items():
        assert (tmp_path / "out" / f"{name}.tflite").stat().st_size == made.size_bytes
    text = str(found)
    assert f"→ {found.choice}" in text and "is the choice" in text and "XNNPACK + other" in text
    content = json.loads((tmp_path / "out" / "ladder.json").read_text())
    assert content["choice"] == found.choice and set(content["reports"]) == set(VARIANTS)
    assert (tmp_path / "out" / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "out" / "int8.tflite").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        ladder(model, tmp_path / "out", holdout=images(60, 1), representative_data=images())
    assert (tmp_path / "out" / "int8.tflite").read_bytes() == b"mine"


def test_what_is_missing_is_said(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, "kerasft"):
        found = ladder(model, tmp_path / "out", holdout=images(60, 1), variants=["float16", "int8"])
    assert list(found.reports) == ["float16"] and found.choice == "float16"
    assert "int8 was not exported: int8 needs representative_data" in str(found)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"float16.tflite", "ladder.json"}
    assert 'pip install "kerasft[plots]"' in caplog.text
    for variants, message in ((["int4"], r"no variants \['int4'\]"), ([], "variants is empty")):
        with pytest.raises(ValueError, match=message):
            ladder(model, tmp_path / "none", variants=variants)
    assert not (tmp_path / "none").exists()


def test_where_int8_loses_too_much_it_falls_back_and_names_the_tensors(tmp_path):
    """A channel of huge values that the classes do not depend on leaves the others no steps in int8."""
    model = fitted(classifier())
    conv = model.get_layer("conv")
    plain = keras.Model(model.input, model.output)
    kernel, bias = conv.get_weights()
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    wide = keras.layers.Conv2D(9, 3, name="wide")
    x = wide(x)
    wide.set_weights(
        [np.concatenate([kernel, 2000 * np.ones((3, 3, 3, 1))], -1), np.concatenate([bias, np.zeros(1)])]
    )
    x = keras.layers.GlobalAveragePooling2D()(x)
    outlier = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    outlier.get_layer("scores").set_weights([np.zeros((9, 3)), np.zeros(3)])
    outlier.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    # the head can't use the outlier: its kernel row stays 0
    head = fitted(keras.Model(inputs, outlier.output), epochs=1)
    del plain
    features = keras.Model(inputs, x).predict(images(300)[0], verbose=0)
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(max_iter=2000).fit(features[:, :8], images(300)[1])
    weights = np.concatenate([fit.coef_.T, np.zeros((1, 3))])
    head.get_layer("scores").set_weights([weights, fit.intercept_])
    found = ladder(head, tmp_path / "out", holdout=images(200, 1), representative_data=images(300))
    assert found.reports["weight_only"].quality.drop <= 0.01
    if "int8" in found.reports:
        assert found.reports["int8"].quality.drop > 0.1
        assert found.lost and any("wide" in text or "conv" in text.lower() for text in found.lost[:3])
        assert "int8 loses" in found.reason
    else:
        assert "does not keep its contract" in found.failures["int8"]
    assert found.choice in ("weight_only", "dynamic", "float16") and export.PRECISIONS
