"""The report on a trainable file, as text and back."""

import json

import pytest
from kerasft.export.parity import Parity
from kerasft.export.report import SignatureInfo

from kerasft import export

PARITY = Parity(1e-7, 2e-7, 1e-7, 8)


def report(**changes):
    tensor = export.TensorInfo
    fields = dict(
        path="head.tflite", precision="int8", made_by="converter", depth="top", layers=(("top", "Dense"),),
        size_bytes=1_500_000, inference_bytes=None, sha256="ab", digest="cd",
        signatures={
            "scores": SignatureInfo(
                (tensor("features", (-1, 8), "float32"), tensor("top_kernel", (8, 3), "float32")),
                (tensor("scores", (-1, 3), "float32"),),
            )
        },
        state=(export.WeightInfo("top_kernel", (8, 3), "float32", "top", "weight"),), frozen=(),
        off=("'noise' (Dropout) makes no noise on the device",), loss="categorical_crossentropy",
        label_smoothing=0.0, optimizer={"name": "sgd", "momentum": 0.9, "learning_rate": 0.1},
        labels=("a", "b", "c"), new_classes=False, input_range=(0.0, 255.0),
        normalization=((1.0, 2.0, 3.0), 2.0), preprocessing="by the client", pixels={"resize": "bilinear"},
        text=export.Text(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], 8), operations={"ADD": 2}, parity=PARITY,
        features_parity=PARITY, steps_parity=PARITY, steps_rate=0.1, steps_rounding=None,
        quality=export.Quality(4, 1.0, 0.5, 0.5, 0.0, (-0.1, 0.1)), not_measured="", step_ms={"8": 0.25},
        versions={"keras": "3"},
    )  # fmt: skip
    return export.TrainableReport(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes", [{}, {"labels": None, "quality": None, "text": None, "normalization": None}]
)
def test_there_and_back(changes):
    made = report(**changes)
    assert export.TrainableReport.from_json(made.to_json()) == made
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()
    assert made.weights == made.state


def test_printed():
    assert str(report()).splitlines() == [
        "head.tflite: 1.50 MB, frozen part in int8",
        "trains top by sgd on categorical_crossentropy",
        "signature  takes                                            gives",
        "scores     features [-1, 8], 1 arrays of weights and slots  scores [-1, 3]",
        "50 steps differ from Keras's own by 2.0e-07, scores by 2.0e-07, of the largest value",
        "a step of 8 samples takes 0.25 ms here",
        "'noise' (Dropout) makes no noise on the device",
    ]


@pytest.mark.parametrize("text", ["", "{}", '{"signatures": 1}'])
def test_what_is_none(text):
    with pytest.raises(ValueError, match="The report"):
        export.TrainableReport.from_json(text)
    content = report().to_dict()
    del content["parity"]
    with pytest.raises(ValueError, match="lacks something"):
        export.TrainableReport.from_json(json.dumps(content))
