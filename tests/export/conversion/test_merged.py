"""Two files become one: their signatures beside each other, and one after the other, on shared buffers."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.conversion import merged
from kerasft.export.tflite_file import read_operations, unpacked

KERNEL = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")


def converted(functions, tmp_path):
    """A file of functions of specs by the name of the signature."""
    traced = {
        name: tf.function(function, autograph=False).get_concrete_function(**specs)
        for name, (function, specs) in functions.items()
    }
    folder = str(tmp_path / "saved")
    tf.saved_model.save(tf.Module(), folder, signatures=traced)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))
    return converter.convert()


def spec(*shape):
    return tf.TensorSpec(shape, tf.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    first = converted(
        {"serving_default": (lambda image: {"out": tf.nn.relu(image @ KERNEL)}, {"image": spec(1, 64)})},
        tmp_path_factory.mktemp("first"),
    )
    rows = KERNEL[:32]

    def twice(features, more):
        return {"answer": features @ tf.transpose(rows) + more, "same": more * 1.5}

    other = converted(
        {
            "far": (twice, {"features": spec(None, 64), "more": spec(None, 32)}),
            "near": (twice, {"features": spec(1, 64), "more": spec(1, 32)}),
        },
        tmp_path_factory.mktemp("other"),
    )
    return first, other


def test_signatures_beside_and_after_each_other(files):
    content = merged(*files, rename="features", tensor="features", joined={"near": "both"})
    model = Interpreter(model_content=content)
    model.allocate_tensors()
    names = {k: (set(v["inputs"]), set(v["outputs"])) for k, v in model.get_signature_list().items()}
    assert names == {
        "features": ({"image"}, {"features"}),
        "far": ({"features", "more"}, {"answer", "same"}),
        "both": ({"image", "more"}, {"answer", "same"}),
    }
    rng = np.random.default_rng(1)
    image, more = rng.normal(size=(1, 64)).astype("float32"), rng.normal(size=(1, 32)).astype("float32")
    features = np.maximum(image @ KERNEL, 0)
    answer = features @ KERNEL[:32].T + more
    got = model.get_signature_runner("features")(image=image)["features"]
    np.testing.assert_allclose(got, features, atol=1e-4)
    for found in (
        model.get_signature_runner("far")(features=features, more=more),
        model.get_signature_runner("both")(image=image, more=more),
    ):
        np.testing.assert_allclose(found["answer"], answer, atol=1e-4)
        np.testing.assert_allclose(found["same"], more * 1.5, rtol=1e-6)
    many = model.get_signature_runner("far")(features=np.tile(features, (5, 1)), more=np.tile(more, (5, 1)))
    np.testing.assert_allclose(many["answer"], np.tile(answer, (5, 1)), atol=1e-4)


def test_nothing_is_there_twice(files):
    first, other = files
    content = merged(first, other, rename="features", tensor="features", joined={"near": "both"})
    sizes = [0 if b.data is None else len(b.data) for b in unpacked(content).buffers]
    assert sizes.count(KERNEL.nbytes) == 1 and sizes.count(KERNEL.nbytes // 2) == 1
    assert len(content) < len(first) + len(other)
    codes = unpacked(content).operatorCodes
    keys = [(max(c.builtinCode, c.deprecatedBuiltinCode), c.version) for c in codes]
    assert len(keys) == len(set(keys))
    count = {name: len(read_operations(part)) for name, part in (("first", first), ("other", other))}
    assert len(read_operations(content)) == 2 * count["first"] + count["other"]
