"""Golden packs: a program with a JSON parser and file reads can hold a device against them."""

import dataclasses
import hashlib
import json
import struct
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from kerasft.export.clients.pack import to_pack
from kerasft.export.clients.verify import verify_pack
from kerasft.export.errors import ExportError

from kerasft import export

FORMATS = {"float32": "f", "int8": "b", "uint8": "B", "int32": "i", "int64": "q", "bool": "?"}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    images = rng.uniform(0, 80, (60, 8, 8, 3)) + 80 * labels[:, None, None, None]
    return images.astype("float32"), labels


@pytest.fixture(scope="module")
def trained(data):
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*data, epochs=20, verbose=0)
    return model


def convert(model, batch=1, images=None, io=None, outputs=None):
    """A .tflite file by TensorFlow's own converter; with `images` in int8, with `io` at its edges too."""
    module = tf.Module()
    module.kept = [v.value for v in model.variables]
    outputs = outputs or (lambda image: {"scores": model(image, training=False)})
    module.serve = tf.function(outputs, input_signature=[tf.TensorSpec((batch, 8, 8, 3), name="image")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
    if images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if io:
            converter.inference_input_type = converter.inference_output_type = io
    return converter.convert()


@pytest.fixture(scope="module")
def reports(trained, data, tmp_path_factory):
    """Reports of the same model at several precisions."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for precision in ("float32", "float16"):
        path = folder / f"{precision}.tflite"
        made[precision] = export.to_tflite(trained, path, precision=precision, labels=["a", "b", "ç"])
    by_hand = {
        "int8": convert(trained, images=data[0], io=tf.int8),
        "int8, float io": convert(trained, images=data[0]),
        "open batch": convert(trained, batch=None),
    }
    for name, content in by_hand.items():
        path = folder / f"{name}.tflite"
        path.write_bytes(content)
        made[name] = dataclasses.replace(
            made["float32"],
            path=str(path),
            sha256=hashlib.sha256(content).hexdigest(),
            precision="int8" if "int8" in name else "float32",
        )
    return made


def without_convolution(path):
    """A file's content with zeros for the weights of its convolution, whatever their dtype is."""
    content, interpreter = Path(path).read_bytes(), Interpreter(str(path))
    for tensor in interpreter.get_tensor_details():
        if tensor["shape"].tolist() == [8, 3, 3, 3]:
            try:
                weights = interpreter.get_tensor(tensor["index"]).tobytes()
            except ValueError:  # float16 weights that are unpacked when the model runs
                continue
            if weights in content:
                return content.replace(weights, bytes(len(weights)))
    raise AssertionError("no weights found")


def edges(manifest, side):
    """The inputs or the outputs of the one signature."""
    (signature,) = manifest["signatures"].values()
    return signature[side]


def read_like_cpp(folder):
    """Largest differences in an unpacked pack, with a JSON parser, file reads and the runtime alone."""
    manifest = json.loads(Path(folder, "manifest.json").read_text())
    interpreter, other = (Interpreter(str(Path(folder, manifest["model"]))) for _ in range(2))
    signature = other.get_signature_runner(*manifest["signatures"])  # it would lock the interpreter
    places = {**signature.get_input_details(), **signature.get_output_details()}
    found = {t["name"]: [] for t in edges(manifest, "outputs")}

    def values(tensor):
        count = 1
        for n in tensor["shape"]:
            count *= n
        content = Path(folder, tensor["file"]).read_bytes()
        return struct.unpack(f"<{count}{FORMATS[tensor['dtype']]}", content)

    for case in manifest["cases"]:
        for name, tensor in case["inputs"].items():
            interpreter.resize_tensor_input(places[name]["index"], tensor["shape"])
        interpreter.allocate_tensors()
        for name, tensor in case["inputs"].items():
            array = np.array(values(tensor), tensor["dtype"]).reshape(tensor["shape"])
            interpreter.set_tensor(places[name]["index"], array)
        interpreter.invoke()
        for name, tensor in case["outputs"].items():
            got = interpreter.get_tensor(places[name]["index"])
            assert list(got.shape) == tensor["shape"]
            found[name] += [abs(a - b) for a, b in zip(got.ravel().tolist(), values(tensor), strict=True)]
    return {name: (max(many), len(many)) for name, many in found.items()}, manifest


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "int8, float io", "open batch"])
def test_an_independent_reader_verifies_a_pack(reports, data, tmp_path, kind):
    verified = to_pack(reports[kind], tmp_path / "a.zip", golden=data[0][:5])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "a")
    found, manifest = read_like_cpp(tmp_path / "a")
    (tensor,) = edges(manifest, "outputs")
    difference, count = found["scores"]
    assert count == 5 * 3 and difference <= tensor["tolerance"]
    assert verified.ok and verified.cases == 5 and verified.outputs[0].tolerance == tensor["tolerance"]
    assert verified.path == str(tmp_path / "a.zip")
    # wrong weights are seen: the tolerance is not too wide
    path = tmp_path / "a" / "model.tflite"
    path.write_bytes(without_convolution(path))
    assert read_like_cpp(tmp_path / "a")[0]["scores"][0] > edges(manifest, "outputs")[0]["tolerance"]


def unpacked(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members, json.loads(members["manifest.json"])


def test_golden_values_are_those_of_the_model(reports, trained, data, tmp_path):
    images = data[0][:4]
    expected = trained.predict(images, verbose=0)
    for kind, atol in {"float32": 1e-5, "float16": 1e-2, "int8": 0.05, "int8, float io": 0.05}.items():
        to_pack(reports[kind], tmp_path / f"{kind}.zip", golden=images.astype("float64"))
        members, manifest = unpacked(tmp_path / f"{kind}.zip")
        for i, case in enumerate(manifest["cases"]):
            place, scores = case["inputs"]["image"], case["outputs"]["scores"]
            stored = np.frombuffer(members[place["file"]], "<i1" if kind == "int8" else "<f4")
            got = np.frombuffer(members[scores["file"]], "<i1" if kind == "int8" else "<f4").astype("float32")
            if kind == "int8":
                tensor = edges(manifest, "inputs")[0]
                steps = np.round(images[i].ravel().astype("float64") / tensor["scale"] + tensor["zero_point"])
                np.testing.assert_array_equal(stored, np.clip(steps, -128, 127))
                tensor = edges(manifest, "outputs")[0]
                # the scale of a softmax is fixed by TFLite
                assert (tensor["scale"], tensor["zero_point"]) == (1 / 256, -128)
                got = (got + 128) / 256
            else:
                np.testing.assert_array_equal(stored, images[i].ravel())
            np.testing.assert_allclose(got, expected[i], atol=atol)


def test_the_manifest_says_what_is_in_the_pack(reports, data, tmp_path):
    report = reports["float32"]
    to_pack(report, tmp_path / "a.zip", golden={"image": data[0][:2]}, license="Apache-2.0")
    members, manifest = unpacked(tmp_path / "a.zip")
    assert set(members) == {
        "model.tflite", "labels.txt", "verify.py", "pack_files.py", "manifest.json",
        "golden/000/inputs_0.bin", "golden/000/outputs_0.bin",
        "golden/001/inputs_0.bin", "golden/001/outputs_0.bin",
    }  # fmt: skip
    assert manifest["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in members.items()
        if name != "manifest.json"
    }
    assert manifest["files"]["model.tflite"]["sha256"] == report.sha256
    assert members["labels.txt"].decode() == "a\nb\nç\n"
    assert (manifest["format"], manifest["format_version"]) == ("kerasft golden pack", 2)
    assert list(manifest["signatures"]) == ["serving_default"]
    assert manifest["state"] is manifest["training"] is None
    assert {(case["signature"], case["steps"]) for case in manifest["cases"]} == {("serving_default", 1)}
    assert edges(manifest, "inputs") == [
        {"name": "image", "shape": [1, 8, 8, 3], "dtype": "float32", "scale": None, "zero_point": None}
    ]
    scores = {"name": "scores", "shape": [1, 3], "dtype": "float32", "scale": None, "zero_point": None}
    assert edges(manifest, "outputs")[0].items() >= scores.items()
    assert manifest["cases"][1]["outputs"]["scores"] == {
        "file": "golden/001/outputs_0.bin", "dtype": "float32", "shape": [1, 3],
    }  # fmt: skip
    assert manifest["license"] == "Apache-2.0" and manifest["precision"] == "float32"
    assert manifest["versions"] == report.versions and manifest["parity"] == dataclasses.asdict(report.parity)
    assert manifest["preprocessing"] == report.preprocessing
    assert manifest["runtime"].startswith("ai-edge-litert ")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    documented = (Path(export.__file__).parent / "clients" / "pack.py").read_text().split('"""')[1]
    assert all(f'"{key}"' in documented for key in manifest)


def test_tolerances_come_from_the_arithmetic_and_from_two_sets_of_kernels(reports, data, tmp_path):
    def outputs(kind, kernels):
        interpreter = Interpreter(reports[kind].path, experimental_op_resolver_type=kernels)
        run = interpreter.get_signature_runner("serving_default")
        (tensor,) = run.get_input_details().values()
        rows, (scale, zero_point) = data[0], tensor["quantization"]
        if scale:
            rows = np.clip(np.round(rows / scale + zero_point), -128, 127).astype("int8")
        return np.stack([run(image=row[None])["scores"] for row in rows]).astype("float64")

    spreads = []
    kernels = (OpResolverType.BUILTIN, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    for kind, warranted in {
        "int8": 2.0,
        "int8, float io": 2 / 256,
        "float32": None,
        "open batch": None,
    }.items():
        ours, theirs = (outputs(kind, k) for k in kernels)
        spread = np.abs(ours - theirs).max()
        to_pack(reports[kind], tmp_path / f"{kind}.zip", golden=data[0])
        (tensor,) = edges(unpacked(tmp_path / f"{kind}.zip")[1], "outputs")
        assert tensor["kernel_spread"] == pytest.approx(spread, rel=1e-9)
        spreads.append(spread)
        warranted = warranted or 1e-4 * np.abs(ours).max()
        assert tensor["tolerance"] == pytest.approx(max(warranted, 2 * spread), rel=1e-6)
    assert max(spreads) > 0  # they are two
    dynamic = dataclasses.replace(reports["float32"], precision="dynamic")
    (output,) = to_pack(dynamic, tmp_path / "a.zip", golden=data[0]).outputs
    assert output.tolerance == pytest.approx(5e-2 * np.abs(ours).max(), rel=1e-6)


def test_an_open_batch_is_kept_and_labels_can_be_missing(reports, data, tmp_path):
    report = dataclasses.replace(reports["open batch"], labels=None, input_range=(0.0, 255.0))
    to_pack(report, tmp_path / "a.zip", golden=data[0][:2])
    members, manifest = unpacked(tmp_path / "a.zip")
    assert edges(manifest, "inputs")[0]["shape"] == [-1, 8, 8, 3] and edges(manifest, "outputs")[0][
        "shape"
    ] == [-1, 3]
    assert manifest["cases"][0]["inputs"]["image"]["shape"] == [1, 8, 8, 3]
    assert manifest["labels"] is None and "labels.txt" not in members
    assert manifest["input_range"] == [0, 255]


def test_the_same_pack_is_equal_to_the_bit(reports, data, tmp_path):
    for name in ("a.zip", "b.zip"):
        to_pack(reports["int8"], tmp_path / name, golden=data[0][:2])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_several_inputs_and_outputs_of_other_dtypes(reports, tmp_path):
    def outputs(ids, mask):
        scores = tf.cast(ids, "float32") * tf.where(mask, 2.0, 0.5)
        return {"scores": scores, "best": tf.argmax(scores, -1), "high": scores > 3.0}

    serve = tf.function(
        outputs,
        input_signature=[tf.TensorSpec((1, 4), "int32", "ids"), tf.TensorSpec((1, 4), "bool", "mask")],
    )
    content = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], tf.Module()
    ).convert()
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    report = dataclasses.replace(reports["float32"], path=str(path), sha256=digest, labels=None)
    golden = {"ids": np.array([[1, 5, 2, 2]]), "mask": np.array([[True, False, True, True]])}
    verified = to_pack(report, tmp_path / "a.zip", golden=golden)
    assert {c.name: c.tolerance for c in verified.outputs} == {
        "scores": pytest.approx(4e-4),  # 1e-4 of the largest, 2 * 2.0
        "best": 0.0,
        "high": 0.0,
    }
    members, manifest = unpacked(tmp_path / "a.zip")
    outputs = {n: members[t["file"]] for n, t in manifest["cases"][0]["outputs"].items()}
    assert struct.unpack("<4f", outputs["scores"]) == (2.0, 2.5, 4.0, 4.0)
    assert struct.unpack("<q", outputs["best"]) == (2,) and outputs["high"] == b"\0\0\1\1"
    stored = {n: members[t["file"]] for n, t in manifest["cases"][0]["inputs"].items()}
    assert struct.unpack("<4i", stored["ids"]) == (1, 5, 2, 2) and stored["mask"] == b"\1\0\1\1"
    for bad, error, message in [
        ({**golden, "ids": np.array([[1.0, 5, 2, 2]])}, TypeError, "'ids' has the dtype float64.*int32"),
        ({**golden, "ids": np.array([[1, 5, 2, 2**40]])}, ValueError, "'ids' has values.*int32"),
        ({**golden, "mask": np.array([[1, 0, 1, 1]])}, TypeError, "'mask' has the dtype int64.*bool"),
        ({**golden, "ids": np.ones((2, 4), int)}, ValueError, "of each input as many.*'ids': 2, 'mask': 1"),
        (golden["ids"], ValueError, "received one array.*'ids': int32 of shape.*'mask': bool"),
        ({**golden, "ids": []}, ValueError, "'ids': 0"),
        ({"ids": golden["ids"]}, ValueError, r"received \['ids'\].*'mask'"),
    ]:
        with pytest.raises(error, match=message):
            to_pack(report, tmp_path / "b.zip", golden=bad)
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    ("golden", "error", "message"),
    [
        ([], ValueError, "1 to 64 samples.*'image': 0"),
        ({}, ValueError, r"received \[\], the file takes 'image': float32 of shape \[1, 8, 8, 3\]"),
        ({"img": np.zeros((1, 8, 8, 3))}, ValueError, r"received \['img'\].*'image': float32"),
        (np.zeros((8, 8, 3)), ValueError, r"has the shape \(8, 8, 3\), not \(samples, \*\[8, 8, 3\]\)"),
        (np.zeros((2, 8, 8, 1)), ValueError, r"has the shape \(2, 8, 8, 1\)"),
        (np.float32(1), ValueError, r"has the shape \(\)"),
        (np.zeros((65, 8, 8, 3)), ValueError, "1 to 64 samples.*65"),
        (np.full((1, 8, 8, 3), "a"), TypeError, "dtype <U1; expected are float32"),
        (np.full((1, 8, 8, 3), np.nan), ValueError, "not finite"),
        (np.full((1, 8, 8, 3), 1e300), ValueError, "float32 can't hold"),
    ],
)
def test_bad_golden_samples_are_refused(reports, tmp_path, golden, error, message):
    with pytest.raises(error, match=message):
        to_pack(reports["float32"], tmp_path / "a.zip", golden=golden)
    assert list(tmp_path.iterdir()) == []


def test_samples_for_a_quantized_input_are_in_the_graphs_units(reports, data, tmp_path):
    report = reports["int8"]
    with pytest.raises(TypeError, match="dtype int8; expected are floats in the units of the graph"):
        to_pack(report, tmp_path / "a.zip", golden=np.zeros((1, 8, 8, 3), "int8"))
    with pytest.raises(ValueError, match="not finite"):
        to_pack(report, tmp_path / "a.zip", golden=np.full((1, 8, 8, 3), np.inf))
    to_pack(report, tmp_path / "a.zip", golden=np.full((1, 8, 8, 3), 255, "uint8"))
    to_pack(report, tmp_path / "b.zip", golden=np.full((1, 8, 8, 3), 255.0))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    to_pack(report, tmp_path / "c.zip", golden=np.full((1, 8, 8, 3), 1e9) * [1, -1, 1])
    stored = np.frombuffer(unpacked(tmp_path / "c.zip")[0]["golden/000/inputs_0.bin"], "int8")
    assert stored[:3].tolist() == [127, -128, 127]


def test_size_has_a_limit(reports, data, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasft.export.clients.pack._MOST_BYTES", 2 * (8 * 8 * 3 + 3) * 4)
    to_pack(reports["float32"], tmp_path / "a.zip", golden=data[0][:2])
    with pytest.raises(ValueError, match="Pass fewer"):
        to_pack(reports["float32"], tmp_path / "b.zip", golden=data[0][:3])
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_not_what_was_exported_is_refused(reports, data, tmp_path):
    content = Path(reports["float32"].path).read_bytes()
    (tmp_path / "a.tflite").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = dataclasses.replace(reports["float32"], path=str(tmp_path / "a.tflite"))
    with pytest.raises(ExportError, match="changed since its export"):
        to_pack(changed, tmp_path / "a.zip", golden=data[0][:1])
    gone = dataclasses.replace(changed, path=str(tmp_path / "b.tflite"))
    with pytest.raises(ExportError, match="not there"):
        to_pack(gone, tmp_path / "a.zip", golden=data[0][:1])
    with pytest.raises(TypeError, match="what to_tflite or to_trainable_tflite returns; received str"):
        to_pack(str(tmp_path / "a.tflite"), tmp_path / "a.zip", golden=data[0][:1])
    assert [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


def test_batches_above_one_are_refused(trained, reports, data, tmp_path):
    content = convert(trained, batch=2)
    (tmp_path / "a.tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    report = dataclasses.replace(reports["float32"], path=str(tmp_path / "a.tflite"), sha256=digest)
    with pytest.raises(ValueError, match="batch of one"):
        to_pack(report, tmp_path / "a.zip", golden=data[0][:2])


def test_outputs_that_are_not_finite_are_refused(trained, reports, data, tmp_path):
    content = convert(trained, outputs=lambda image: {"scores": tf.math.log(image - image)})
    (tmp_path / "a.tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    report = dataclasses.replace(reports["float32"], path=str(tmp_path / "a.tflite"), sha256=digest)
    with pytest.raises(ExportError, match="'scores' is not finite for the golden sample 0"):
        to_pack(report, tmp_path / "a.zip", golden=data[0][:1])
    assert [p.name for p in tmp_path.iterdir()] == ["a.tflite"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": "a.tar"}, ValueError, "ends in .zip"),
        ({"path": "no/a.zip"}, FileNotFoundError, "no folder"),
        ({"license": " "}, ValueError, "license is empty"),
        ({"labels": ("a\nb",)}, ValueError, "line break"),
    ],
)
def test_bad_arguments_write_nothing(reports, data, tmp_path, options, error, message):
    path = tmp_path / options.pop("path", "a.zip")
    report = reports["float32"]
    if "labels" in options:
        report = dataclasses.replace(report, labels=options.pop("labels"))
    with pytest.raises(error, match=message):
        to_pack(report, path, golden=data[0][:1], **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_pack_stays_until_the_new_one_is_verified(reports, data, tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_bytes(b"mine")
    gone = dataclasses.replace(reports["float32"], path=str(tmp_path / "no.tflite"))
    with pytest.raises(FileExistsError, match="overwrite"):  # before anything is computed
        to_pack(gone, path, golden=data[0][:1])
    with monkeypatch.context() as patch:
        patch.setattr("kerasft.export.clients.verify.difference", lambda *_: 7.0)
        with pytest.raises(ExportError, match=r"same outputs twice[\s\S]*differs by up to 7 .*FAILED"):
            to_pack(reports["float32"], path, golden=data[0][:1], overwrite=True)
    assert path.read_bytes() == b"mine" and [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    to_pack(reports["float32"], path, golden=data[0][:1], overwrite=True)
    assert verify_pack(path).ok and [p.name for p in tmp_path.iterdir()] == ["a.zip"]
