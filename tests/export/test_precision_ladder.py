"""All precisions at once: six files, one pass over the data."""

import json
import logging
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export import draft, precision_ladder
from kerasft.export.ladder_choice import VARIANTS, Ladder
from kerasft.export.precision_ladder import ladder
from small_models import classifier, fitted, images

from kerasft import export


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


def test_six_files_a_table_and_a_figure(model, tmp_path, monkeypatch):
    reads = []
    original = precision_ladder.Subject.measured
    monkeypatch.setattr(
        precision_ladder.Subject, "measured", lambda self, files: reads.append(1) or original(self, files)
    )
    rule = {"resize": "antialias"}
    found = ladder(model, tmp_path / "out", holdout=images(60, 1), representative_data=images(), pixels=rule)
    assert all(report.pixels == rule for report in found.reports.values())
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


def plain(channels=8):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(channels, 3, name="conv")(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))


def outlier(size):
    """A classifier with a channel of huge values, on which its classes do not depend.

    In int8 it leaves the other channels of its tensor few steps, or none.
    """
    model, wide = fitted(plain(), epochs=30), plain(9)
    (kernel, bias), (weights, offset) = (model.get_layer(n).get_weights() for n in ("conv", "scores"))
    kernel = np.concatenate([kernel, np.full((3, 3, 3, 1), size)], -1)
    wide.get_layer("conv").set_weights([kernel, np.append(bias, 0.0)])
    wide.get_layer("scores").set_weights([np.concatenate([weights, np.zeros((1, 3))]), offset])
    return wide


def test_where_int8_loses_too_much_it_falls_back_and_names_the_tensors(tmp_path, monkeypatch):
    monkeypatch.setitem(draft.TOLERANCES, "int8", 10.0)
    monkeypatch.setitem(draft.COLUMN_TOLERANCES, "int8", 10.0)
    found = ladder(outlier(40.0), tmp_path / "out", holdout=images(200, 1), representative_data=images(300))
    assert found.reports["int8"].quality.drop > 0.1 and found.reports["weight_only"].quality.drop <= 0.01
    assert found.choice in ("weight_only", "dynamic")
    assert "int8 loses" in found.reason and found.lost[0] in found.reason
    assert any("conv" in text.lower() for text in found.lost[:2])


def test_a_variant_that_breaks_its_contract_leaves_no_file_and_names_the_tensors_too(tmp_path):
    folder = tmp_path / "out"
    found = ladder(
        outlier(1e4), folder, holdout=images(60, 1), representative_data=images(300),
        variants=["float32", "weight_only", "int8", "int8_io"],
    )  # fmt: skip
    assert set(found.failures) == {"int8", "int8_io"}
    assert "does not keep its contract" in found.failures["int8"]
    names = {p.name for p in folder.iterdir()}
    assert names == {"float32.tflite", "weight_only.tflite", "ladder.json", "ladder.png"}
    assert found.choice == "weight_only"
    assert "int8 loses too much, most of it at" in found.reason
    assert any("conv" in text.lower() for text in found.lost[:2])
    assert "int8 was not exported: The file does not keep" in str(found)
    assert Ladder.from_json((folder / "ladder.json").read_text()) == found


def test_reports_read_back(model, tmp_path):
    found = ladder(
        model, tmp_path, holdout=images(40, 1), variants=["float32", "float16"], input_range=(0, 255),
        labels=["a", "b", "c"],
    )  # fmt: skip
    assert Ladder.from_json((tmp_path / "ladder.json").read_text()) == found
    assert list(found.reports) == ["float32", "float16"]


def test_where_nothing_works_nothing_is_left(tmp_path):
    inputs = keras.Input((8,))
    layer = keras.layers.Lambda(lambda x: tf.math.igamma(x + 1.0, x + 2.0))
    with pytest.raises(export.ExportError, match=r"No variant could be written[.] .*Igamma") as caught:
        ladder(keras.Model(inputs, layer(inputs)), tmp_path / "out")
    said = str(caught.value)  # the reason of all four once
    assert "float32, float16, weight_only, dynamic: " in said and said.count("can't be converted") == 1
    assert "int8, int8_io: int8 needs representative_data." in said
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_found_before_a_folder_is_made(model, tmp_path):
    for options, error, message in (
        ({"labels": ["a", "b"]}, ValueError, "2 labels"),
        ({"holdout": (images()[0][:, :4], images()[1])}, ValueError, "shape"),
        ({"directory": tmp_path / "no" / "out"}, FileNotFoundError, "no folder"),
    ):
        with pytest.raises(error, match=message):
            ladder(model, **{"directory": tmp_path / "out", **options})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="file"):
        ladder(model, tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_interruption_leaves_older_files(model, tmp_path, monkeypatch):
    """They are replaced at the end, all together, or not at all."""
    for name in ("float32", "float16"):
        (tmp_path / f"{name}.tflite").write_text("old")

    def stop(self, files):
        raise KeyboardInterrupt

    monkeypatch.setattr(precision_ladder.Subject, "measured", stop)
    with pytest.raises(KeyboardInterrupt):
        ladder(model, tmp_path, variants=["float32", "float16"], overwrite=True)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "float32.tflite": "old",
        "float16.tflite": "old",
    }


def test_the_holdout_is_read_as_often_for_six_variants_as_for_one(model, tmp_path):
    passes = []

    def once(variants, folder):
        def samples():
            passes.append(1)
            yield from zip(*images(40, 1))

        spec = (tf.TensorSpec((8, 8, 3), tf.float32), tf.TensorSpec((), tf.int32))
        data = tf.data.Dataset.from_generator(samples, output_signature=spec).batch(8)
        passes.clear()
        ladder(model, folder, holdout=data, representative_data=images(), variants=variants)
        return len(passes)

    assert once(None, tmp_path / "six") == once(["float32"], tmp_path / "one")


def test_strictness_and_the_number_of_samples_reach_all_variants(tmp_path, monkeypatch):
    from kerasft.export.conversion import variants as module

    seen = []
    real = module.Variants.make

    def make(self, precision, io="float"):
        seen.append(len(self._calibration.samples))
        return real(self, precision, io)

    monkeypatch.setattr(module.Variants, "make", make)
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.ops.sin(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs)))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    options = {"representative_data": images(), "variants": ["int8"], "calibration_samples": 9}
    with pytest.raises(export.ExportError, match="SIN"):
        export.ladder(model, tmp_path / "strict", **options)
    found = export.ladder(model, tmp_path / "lax", **options, strict=False)
    assert "SIN" in found.reports["int8"].operations and seen == [9, 9]
