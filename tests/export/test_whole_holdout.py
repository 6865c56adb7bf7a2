"""Files are held against the model on all of the holdout, and each column of their outputs by itself."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.conversion.process import saved
from kerasft.export.conversion.variants import Variants

from kerasft import export

layers = keras.layers
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _numbers(monkeypatch):
    """The same numbers for a test, whichever others run."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def classes_of(content, **inputs):
    """The class of each sample by LiteRT itself."""
    run = Interpreter(model_content=content).get_signature_runner()
    count = len(next(iter(inputs.values())))
    return [
        int(next(iter(run(**{k: v[i : i + 1] for k, v in inputs.items()}).values())).argmax())
        for i in range(count)
    ]


def padded():
    """Scores of which one follows from how much is padding, by `1 - transpose(mask)`."""
    mask = keras.Input((3, 2), name="mask")
    gone = 1.0 - keras.ops.transpose(mask, (0, 2, 1))
    score = keras.ops.sum(gone, axis=(1, 2), keepdims=True)[:, 0]
    return keras.Model(mask, layers.Concatenate(name="logits")([score, 0 * score + 0.5]))


def test_padding_in_one_sample_of_the_holdout_shows_what_the_converter_breaks(tmp_path):
    """TFLite's converter makes `transpose(mask) - 1` of `1 - transpose(mask)`, which is 0 without padding."""
    model, masks = padded(), np.ones((256, 3, 2), "float32")
    masks[200, 1:] = 0
    expected = model.predict(masks, verbose=0).argmax(1)
    with saved(model, 1) as folder:
        content = Variants(folder, None).float32
    wrong = np.flatnonzero(np.array(classes_of(content, mask=masks)) != expected)
    assert wrong.tolist() == [200]  # else the converter was mended, and this test needs another fault
    for precision in ("float32", "float16"):
        with pytest.raises(export.ExportError, match=r"sample 200 of .*its largest value is .*; allowed is"):
            export.to_tflite(model, tmp_path / "a.tflite", precision=precision, holdout=masks)
    with pytest.raises(export.ExportError, match="does not keep its contract"):
        export.to_tflite(model, tmp_path / "a.tflite")  # made-up samples have padding as well
    assert list(tmp_path.iterdir()) == []


def bounded(threshold=0.9):
    """Scores that a file can break for samples that are no golden ones; the model itself."""
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="scores")(inputs))


class OffAt:
    """The file of a model, wrong for one sample."""

    def __init__(self, artifact, wrong):
        self._artifact, self._wrong = artifact, wrong

    def __call__(self, named):
        got = self._artifact(named)
        return {k: v[:, ::-1] for k, v in got.items()} if np.array_equal(named["x"], self._wrong) else got

    def __getattr__(self, name):
        return getattr(self._artifact, name)


def test_a_sample_that_is_no_golden_one_is_found_and_the_other_variants_are_written(tmp_path, monkeypatch):
    from kerasft.export import draft, precision_ladder

    model, x = bounded(), RNG.normal(size=(300, 4)).astype("float32")
    subject = precision_ladder.Subject.of(model, holdout=x)
    place = next(i for i in range(100, 300) if i not in subject.places)
    original = draft.LiteRTModel

    def loaded(path, *threads):
        made = original(path, *threads)
        return OffAt(made, x[place : place + 1]) if "float16" in path else made

    monkeypatch.setattr(draft, "LiteRTModel", loaded)
    found = export.ladder(model, tmp_path / "out", holdout=x, variants=["float32", "float16"])
    assert list(found.reports) == ["float32"] and f"sample {place} of the 300" in found.failures["float16"]
    assert not list((tmp_path / "out").glob("*float16*"))
    assert (tmp_path / "out" / "float32.tflite").stat().st_size == found.reports["float32"].size_bytes
    assert found.reports["float32"].parity.samples == 300


def boxes_and_scores():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,), name="x")
    hidden = layers.Dense(16, activation="relu")(inputs)
    boxes = layers.Rescaling(640.0)(layers.Dense(4, activation="sigmoid")(hidden))
    return inputs, [boxes, layers.Dense(2, activation="sigmoid")(hidden)]


def test_boxes_and_scores_in_one_output_are_no_int8_file(tmp_path):
    inputs, outputs = boxes_and_scores()
    joined = keras.Model(inputs, layers.Concatenate(name="both")(outputs))
    x = RNG.normal(size=(256, 8)).astype("float32")
    data = {"representative_data": x[:128], "holdout": x[128:]}
    with pytest.raises(export.ExportError, match=r"columns 4, 5 of the output 'both'.* as two outputs"):
        export.to_tflite(joined, tmp_path / "a.tflite", precision="int8", **data)
    turned = keras.Model(
        inputs, layers.Permute((2, 1), name="turned")(layers.Reshape((1, 6))(joined.outputs[0]))
    )
    with pytest.raises(
        export.ExportError, match=r"columns 4, 5 of the output 'turned' \(axis 1\).* two outputs"
    ):
        export.to_tflite(turned, tmp_path / "a.tflite", precision="int8", **data)
    found = export.ladder(joined, tmp_path / "out", variants=["float32", "weight_only", "int8"], **data)
    assert set(found.reports) == {"float32", "weight_only"} and "columns 4, 5" in found.failures["int8"]
    assert found.choice in found.reports
    apart = keras.Model(inputs, outputs)  # the advice helps
    report = export.to_tflite(apart, tmp_path / "b.tflite", precision="int8", **data)
    assert report.parity.column_relative < 0.2


def test_columns_of_an_input_that_int8_wipes_out_are_named(tmp_path):
    """Shares beside amounts, normalized inside, where it is too late."""
    x = np.concatenate([RNG.uniform(0, 1, (256, 4)), RNG.uniform(0, 1e4, (256, 4))], 1).astype("float32")
    normalize = layers.Normalization()
    normalize.adapt(x)
    inputs = keras.Input((8,), name="x")
    hidden = layers.Dense(16, activation="relu")(normalize(inputs))
    model = keras.Model(inputs, layers.Dense(1)(hidden))
    with pytest.raises(export.ExportError, match=r"inputs \['x'\] have columns of very different size"):
        export.to_tflite(model, tmp_path / "a.tflite", precision="int8", representative_data=x)
    assert export.to_tflite(model, tmp_path / "a.tflite", holdout=x).parity.column_relative < 1e-3


def sigmoid_model(units, activation="sigmoid"):
    """A trained model of points, the labels by the signs of their sums with fixed directions."""
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(300, 4)).astype("float32")
    y = (x @ np.eye(4)[:, :units] + RNG.normal(size=(300, units)) > 0.2).astype("float32")
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units, activation=activation)])
    loss = keras.losses.BinaryCrossentropy(from_logits=activation is None)
    model.compile(keras.optimizers.Adam(0.1), loss)
    model.fit(x, y, epochs=10, verbose=0)
    return model, x, y


def test_one_probability_is_a_classifier_of_two_classes(tmp_path):
    model, x, y = sigmoid_model(1)
    accuracy = keras.metrics.BinaryAccuracy()
    accuracy.update_state(y, model.predict(x, verbose=0))
    for targets in (y, y[:, 0].astype(int), y[:, 0] > 0, np.where(y[:, 0] > 0, "yes", "no")):
        report = export.to_tflite(
            model, tmp_path / "a.tflite", precision="int8", representative_data=RNG.normal(size=(99, 4)),
            holdout=(x, targets), labels=["no", "yes"], max_drop=0.05, overwrite=True,
        )  # fmt: skip
        assert report.quality.kind == "binary" and report.labels == ("no", "yes")
        assert report.accuracy_model == pytest.approx(float(accuracy.result())) and report.not_measured == ""
    assert export.Report.from_json(report.to_json()) == report


def test_several_labels_count_alike(tmp_path):
    model, x, y = sigmoid_model(3)
    accuracy = keras.metrics.BinaryAccuracy()
    accuracy.update_state(y, model.predict(x, verbose=0))
    report = export.to_tflite(model, tmp_path / "a.tflite", holdout=(x, y), max_drop=0.01)
    assert report.quality.kind == "labels" and report.quality.label_drops == (0.0, 0.0, 0.0)
    assert report.accuracy_model == pytest.approx(float(accuracy.result()))
    assert export.Report.from_json(report.to_json()) == report


def test_where_no_accuracy_is_measured_a_drop_is_an_error_that_says_why(tmp_path):
    model, x, y = sigmoid_model(1, None)
    path = tmp_path / "a.tflite"
    with pytest.raises(ValueError, match=r"max_drop=0.01 can't be held: .*logits, whose threshold is 0, or"):
        export.to_tflite(model, path, holdout=(x, y), max_drop=0.01)
    with pytest.raises(ValueError, match="max_drop=0.01 can't be held: .* the holdout has no labels"):
        export.to_tflite(model, path, holdout=x, max_drop=0.01)
    for options in ({"max_drop": 0.01, "holdout": (x, y)}, {"max_drop": 0.01}, {"prefer": "accuracy"}):
        with pytest.raises(ValueError, match="can't be held|needs measured"):
            export.ladder(model, tmp_path / "out", variants=["float32"], **options)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []
    found = export.ladder(model, tmp_path / "out", variants=["float32"], holdout=(x, y))
    assert "not measured  not measured" in str(found) and "within the limits" not in found.reason
    assert "Accuracy was not measured: the targets are 0 and 1, but the outputs leave 0 to 1" in found.reason
    ended = keras.Model(model.inputs[0], layers.Activation("sigmoid")(model.outputs[0]))  # as it is advised
    assert export.to_tflite(ended, path, holdout=(x, y), max_drop=0.01).quality.kind == "binary"


def test_labels_that_are_not_the_models_are_refused_before_anything_is_made(tmp_path):
    model, x = bounded(), RNG.normal(size=(40, 4)).astype("float32")
    for labels, message in (
        (RNG.integers(1, 4, 40), "run from 1 to 3"),
        (np.array(["a", "b"] * 20), r"names, \['a', 'b'\]"),
        (np.zeros(39, int), "39"),
    ):
        with pytest.raises(ValueError, match=message):
            export.to_tflite(model, tmp_path / "a.tflite", holdout=(x, labels))
    named = export.to_tflite(
        model, tmp_path / "a.tflite", holdout=(x, np.array(["a", "b"] * 20)), labels=["b", "a", "c"]
    )
    assert named.accuracy_model == np.mean(model.predict(x, verbose=0).argmax(1) == [1, 0] * 20)


def test_padding_by_the_weight_zero_does_not_count(tmp_path):
    model, x = bounded(), RNG.normal(size=(40, 4)).astype("float32")
    labels, weights = RNG.integers(0, 3, 40), np.ones(40)
    labels[30:], weights[30:] = -1, 0
    report = export.to_tflite(model, tmp_path / "a.tflite", holdout=(x, labels, weights))
    right = model.predict(x, verbose=0).argmax(1) == labels
    assert report.quality.samples == 30 and report.accuracy_model == pytest.approx(right[:30].mean())
    assert report.parity.samples == 40
