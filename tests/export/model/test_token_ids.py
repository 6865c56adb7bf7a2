"""Models of token ids under a rule for texts, against the model itself."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from wordpiece_cases import VOCABULARY

from kerasft import export

TEXTS = ["The film is good.", "bad film", "good good 東京", "", "unheard"] * 4
SIDES = np.array([1, 0, 1, 0, 0] * 4)
SIZE = len(VOCABULARY)


def built(length=8, dtype="float32", size=SIZE, names=("ids", "mask")):
    """A classifier of ids and a mask, as people write it: with ids in floats."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((length,), dtype=dtype, name=name) for name in names}
    x = keras.layers.Embedding(size, 6)(inputs["ids"])
    if "mask" in names:
        x = x * keras.ops.expand_dims(keras.ops.cast(inputs["mask"], "float32"), -1)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(("length", "dtype"), [(8, "float32"), (None, "int64")])
def test_files_take_int32_ids_of_one_length(tmp_path, length, dtype):
    model, text = built(length, dtype), export.Text(VOCABULARY, 8, mask="mask")
    made = text.encode(TEXTS)
    model.fit({k: v.astype(dtype) for k, v in made.items()}, SIDES, epochs=10, verbose=0)
    expected = model.predict({k: v.astype(dtype) for k, v in made.items()}, verbose=0)
    report = export.to_tflite(model, tmp_path / "model.tflite", text=text, holdout=(TEXTS, SIDES))
    assert {(t.name, t.shape, t.dtype) for t in report.inputs} == {
        ("ids", (1, 8), "int32"),
        ("mask", (1, 8), "int32"),
    }
    assert report.accuracy_file == pytest.approx(np.mean(expected.argmax(1) == SIDES))
    run = Interpreter(report.path).get_signature_runner()
    for i in range(5):
        got = run(**{k: v[i : i + 1] for k, v in made.items()})["scores"]
        np.testing.assert_allclose(got[0], expected[i], atol=1e-5)
    assert export.Report.from_json(report.to_json()) == report
    assert report.text == text and "by the client: WordPiece" in report.preprocessing


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ({}, {"mask": None}, r"which are \['ids', 'mask'\]; it leaves out \['mask'\]"),
        ({}, {"ids": "tokens"}, r"it has ids='tokens'; it leaves out \['ids'\]"),
        ({"length": 9}, {}, r"makes ids of the shape \(batch, 8\).*has the shape \(None, 9\)"),
        (
            {"size": 20},
            {},
            r"vocabulary has \d+ tokens, and .* can't take the id \d+: its embedding is smaller",
        ),
    ],
)
def test_what_does_not_fit_the_model(tmp_path, model, text, message):
    rule = export.Text(VOCABULARY, 8, **{"mask": "mask"} | text)
    with pytest.raises((ValueError, export.ExportError), match=message):
        export.to_tflite(built(**model), tmp_path / "model.tflite", text=rule)
    assert not list(tmp_path.iterdir())


def test_ladder_and_ids_as_data(tmp_path):
    model, text = built(), export.Text(VOCABULARY, 8, mask="mask")
    model.fit(text.encode(TEXTS), SIDES, epochs=10, verbose=0)
    found = export.ladder(
        model,
        tmp_path / "ladder",
        text=text,
        holdout=(text.encode(TEXTS), SIDES),
        variants=["float32", "weight_only"],
    )
    assert set(found.reports) == {"float32", "weight_only"}
    assert all(report.text == text for report in found.reports.values())
    with pytest.raises(TypeError, match="Text 1: a text is a string"):
        export.to_tflite(model, tmp_path / "m.tflite", text=text, holdout=(["a", 5], np.array([0, 1])))
