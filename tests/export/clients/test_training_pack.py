"""A pack of a file that trains: Keras's own steps from the first values on, and what was changed is named."""

import dataclasses
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients.golden import STEPS, made_up_targets
from kerasft.export.clients.pack import to_pack
from kerasft.export.clients.verify import PackError, verify_pack
from kerasft.export.errors import ExportError
from small_models import classifier, fitted, images

from kerasft import export

RATE = 0.05
LABELS = ["a", "b", "ç"]


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def report(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.tflite"
    sgd = keras.optimizers.SGD(RATE, momentum=0.9)
    return export.to_trainable_tflite(model, path, optimizer=sgd, labels=LABELS)


@pytest.fixture(scope="module")
def original(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "pack.zip"
    assert to_pack(report, path, golden=images()[0][:4], license="Apache-2.0").ok
    return unpacked(path)


@pytest.fixture
def members(original):
    return dict(original)


def unpacked(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_of(members):
    return json.loads(members["manifest.json"])


def write(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def rehashed(members):
    """The members with a manifest that has their hashes."""
    manifest = manifest_of(members)
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in members.items()
        if name != "manifest.json"
    }
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def value(members, about):
    """An array of the pack."""
    return np.frombuffer(members[about["file"]], np.dtype(about["dtype"])).reshape(about["shape"])


def cases(members, signature):
    """(inputs, outputs, steps) of each case of a signature."""
    return [
        (*({n: value(members, a) for n, a in case[s].items()} for s in ("inputs", "outputs")), case["steps"])
        for case in manifest_of(members)["cases"]
        if case["signature"] == signature
    ]


def test_an_independent_reader_verifies_all_signatures(members, report, tmp_path):
    manifest = manifest_of(members)
    assert (manifest["format_version"], manifest["license"]) == (2, "Apache-2.0")
    assert members["labels.txt"].decode() == "a\nb\nç\n"
    (tmp_path / "a.tflite").write_bytes(members["model.tflite"])
    counts = {}
    for case in manifest["cases"]:
        run = Interpreter(str(tmp_path / "a.tflite")).get_signature_runner(case["signature"])
        given = {name: value(members, about) for name, about in case["inputs"].items()}
        for _ in range(case["steps"]):
            got = run(**given)
            given |= {name: array for name, array in got.items() if name in given}
        for tensor in manifest["signatures"][case["signature"]]["outputs"]:
            golden = value(members, case["outputs"][tensor["name"]])
            assert got[tensor["name"]].shape == golden.shape
            assert np.abs(got[tensor["name"]] - golden).max() <= tensor["tolerance"]
        counts[case["signature"]] = counts.get(case["signature"], 0) + 1
    assert counts == {"features": 4, "classify": 4, "scores": 1, "train": 2}
    described = {n: ([t["name"] for t in s["inputs"]], [t["name"] for t in s["outputs"]])
                 for n, s in manifest["signatures"].items()}  # fmt: skip
    assert described == {
        n: ([t.name for t in s.inputs], [t.name for t in s.outputs]) for n, s in report.signatures.items()
    }


def test_golden_values_are_those_of_keras(members, model):
    x = images()[0][:4]
    wanted = keras.Model(model.input, model.layers[-2].output)(x).numpy()
    scores = model.predict(x, verbose=0)
    for i, (inputs, outputs, _) in enumerate(cases(members, "features")):
        np.testing.assert_array_equal(inputs["image"], x[i : i + 1])
        np.testing.assert_allclose(outputs["features"], wanted[i : i + 1], atol=1e-4)
    for i, (_, outputs, _) in enumerate(cases(members, "classify")):
        np.testing.assert_allclose(outputs["scores"], scores[i : i + 1], atol=1e-5)
    ((inputs, outputs, _),) = cases(members, "scores")
    np.testing.assert_allclose(outputs["scores"], scores, atol=1e-5)

    one, several = cases(members, "train")
    assert (one[2], several[2]) == (1, STEPS)
    for inputs, outputs, steps in (one, several):
        assert inputs["learning_rate"] == np.float32([RATE])
        np.testing.assert_allclose(inputs["features"], wanted, atol=1e-4)
        np.testing.assert_array_equal(inputs["target"].sum(1), 1)
        head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
        head.set_weights(model.layers[-1].get_weights())
        head.compile(keras.optimizers.SGD(RATE, momentum=0.9), "categorical_crossentropy", jit_compile=False)
        for _ in range(steps):
            loss = head.train_on_batch(inputs["features"], inputs["target"])
            head.reset_metrics()
        for name, v in zip(("scores_kernel", "scores_bias"), head.weights):
            np.testing.assert_allclose(outputs[name], v.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outputs["loss"], [loss], rtol=1e-5)
        momenta = [v.numpy() for v in head.optimizer.variables if "momentum" in v.path]
        for name, v in zip(("scores_kernel_momentum", "scores_bias_momentum"), momenta):
            np.testing.assert_allclose(outputs[name], v, rtol=1e-4, atol=1e-6)
    moved = np.abs(several[1]["scores_kernel"] - several[0]["scores_kernel"]).max()
    tolerances = {t["name"]: t["tolerance"] for t in manifest_of(members)["signatures"]["train"]["outputs"]}
    assert moved > 10 * tolerances["scores_kernel"]  # a step that is left out is seen


def test_first_values_are_there_twice_in_the_signatures_order(members, report, model):
    manifest = manifest_of(members)
    arrays = manifest["state"]["arrays"]
    assert [{k: v for k, v in a.items() if k != "file"} for a in arrays] == [
        {**dataclasses.asdict(entry), "shape": list(entry.shape)} for entry in report.state
    ]
    with np.load(io.BytesIO(members["state.npz"])) as npz:
        assert str(npz["digest"]) == report.digest == manifest["state"]["digest"]
        for about in arrays:
            np.testing.assert_array_equal(npz[about["name"]], value(members, about))
    np.testing.assert_array_equal(value(members, arrays[0]), model.layers[-1].kernel)
    assert members["state.npz"] == Path(report.path).with_suffix(".npz").read_bytes()
    assert manifest["training"]["optimizer"] == report.optimizer and manifest["training"]["depth"] == "scores"
    assert report.path not in members["manifest.json"].decode()  # a path of one machine


def with_npz(members, change):
    """The members with another .npz, rightly hashed: `change` is of a dict of its arrays."""
    with np.load(io.BytesIO(members["state.npz"])) as npz:
        arrays = change({name: npz[name].copy() for name in npz.files})
    content = io.BytesIO()
    np.savez(content, **arrays)
    return rehashed({**members, "state.npz": content.getvalue()})


def plus(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (plus("scores_bias", lambda v: v + 1e-3), "'scores_bias' in .* other first values than state"),
        (plus("scores_bias", lambda v: v[:2]), r"'scores_bias' in state.npz .* \[2\]; .* \[3\]"),
        (plus("scores_kernel", lambda v: v.T), r"'scores_kernel' in state.npz .* \[3, 8\]; .* \[8, 3\]"),
        (plus("scores_bias", lambda v: v.astype("float64")), r"'scores_bias' in state.npz .* is float64"),
        (plus("digest", lambda v: np.array("other")), "has the digest 'other'"),
        (lambda arrays: {**arrays, "more": np.zeros(2)}, r"do not both have the arrays \['more'\]"),
        (
            lambda arrays: {k: v for k, v in arrays.items() if k != "scores_kernel_momentum"},
            r"do not both have the arrays \['scores_kernel_momentum'\]",
        ),
    ],
)  # fmt: skip
def test_other_first_values_are_named(members, tmp_path, change, message):
    with pytest.raises(PackError, match=message):
        verify_pack(write(tmp_path / "a.zip", with_npz(members, change)))


def test_a_changed_first_value_is_found_whatever_was_changed_with_it(members, tmp_path):
    file = manifest_of(members)["state"]["arrays"][0]["file"]
    other = np.frombuffer(members[file], "<f4").copy()
    other[::3] += 0.5  # of one class: a change of all would leave the softmax as it is
    changed = {**members, file: other.tobytes()}
    with pytest.raises(PackError, match=rf"{file} in .*a\.zip was changed: its sha256"):
        verify_pack(write(tmp_path / "a.zip", changed))
    with pytest.raises(PackError, match=r"state\.npz in .*b\.zip was changed"):
        verify_pack(write(tmp_path / "b.zip", {**members, "state.npz": members["state.npz"] + b"\0"}))
    both = with_npz(changed, plus("scores_kernel", lambda v: other.reshape(v.shape)))
    found = verify_pack(write(tmp_path / "c.zip", both))
    failed = {check.name for check in found.outputs if not check.ok}
    assert not found.ok and {"train/scores_kernel", "scores/scores"} <= failed
    assert "features/features" not in failed and "train/scores_kernel differs by up to" in str(found)


@pytest.mark.parametrize(
    "name", ["state.npz", "state/value_1.bin", "golden/009/outputs_0.bin", "pack_files.py"]
)
def test_a_missing_file_is_named(members, tmp_path, name):
    del members[name]
    with pytest.raises(PackError, match=rf"{name} is missing or damaged in .*a\.zip"):
        verify_pack(write(tmp_path / "a.zip", members))


@pytest.mark.parametrize("content", [b"", b"PK", b"text", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_npz(members, tmp_path, content):
    changed = rehashed({**members, "state.npz": content})
    with pytest.raises(PackError, match=r"state\.npz in .* (is no \.npz|has the digest '')"):
        verify_pack(write(tmp_path / "a.zip", changed))


def test_an_npz_that_unpacks_to_much(members, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(5):
            archive.writestr(f"{i}.npy", bytes(2**26))
    path = write(tmp_path / "a.zip", rehashed({**members, "state.npz": content.getvalue()}))
    assert path.stat().st_size < 2**22
    with pytest.raises(PackError, match="its arrays take 335544320 bytes, more than 268435456"):
        verify_pack(path)


def test_another_training_step_fails(members, model, tmp_path):
    """The same file but for Nesterov's momentum: only `train` is another one, and is said to be."""
    sgd = keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True)
    export.to_trainable_tflite(model, tmp_path / "head.tflite", optimizer=sgd, labels=LABELS)
    members["model.tflite"] = (tmp_path / "head.tflite").read_bytes()
    found = verify_pack(write(tmp_path / "a.zip", rehashed(members)))
    failed = {check.name for check in found.outputs if not check.ok}
    assert {"train/scores_kernel", "train/scores_bias"} <= failed
    assert not [name for name in failed if not name.startswith("train/")]


def test_the_packs_own_verify_checks_it(members, tmp_path):
    with zipfile.ZipFile(write(tmp_path / "a.zip", members)) as archive:
        archive.extractall(tmp_path / "pack")

    def run():
        command = [sys.executable, "-I", "-W", "error", tmp_path / "pack" / "verify.py"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = run()
    assert done.returncode == 0 and done.stdout.rstrip().endswith("verified"), done.stderr
    assert "train/loss differs by up to" in done.stdout and "golden cases: 11" in done.stdout
    (tmp_path / "pack" / "state.npz").unlink()
    done = run()
    assert done.returncode == 1 and "state.npz is missing" in done.stderr and "Traceback" not in done.stderr


def test_frozen_layers_in_integers_and_a_fixed_batch(model, tmp_path):
    x = images()[0]
    report = export.to_trainable_tflite(
        model, tmp_path / "head.tflite", precision="int8", optimizer="adam", batch=6, representative_data=x,
        new_classes=["left", "right"],
    )  # fmt: skip
    found = to_pack(report, tmp_path / "a.zip", golden={"image": x[:3]})
    assert found.ok and verify_pack(tmp_path / "a.zip").ok and found.precision == "int8"
    members = unpacked(tmp_path / "a.zip")
    inputs, outputs, _ = cases(members, "train")[1]
    assert inputs["features"].shape == (6, 8) and inputs["target"].shape == (6, 2)
    np.testing.assert_array_equal(inputs["features"][3:], inputs["features"][:3])
    np.testing.assert_array_equal(outputs["step"], [STEPS])
    assert manifest_of(members)["training"]["new_classes"] is True


def test_first_values_that_were_changed_since_the_export_are_refused(report, tmp_path):
    path = tmp_path / "head.tflite"
    path.write_bytes(Path(report.path).read_bytes())
    moved = dataclasses.replace(report, path=str(path))
    with pytest.raises(ExportError, match=r"head\.npz is not there"):
        to_pack(moved, tmp_path / "a.zip", golden=images()[0][:1])
    with np.load(Path(report.path).with_suffix(".npz")) as npz:
        arrays = {name: npz[name] for name in npz.files}
    np.savez(tmp_path / "head.npz", **{**arrays, "scores_bias": arrays["scores_bias"] + 1})
    with pytest.raises(ExportError, match=r"head\.npz was changed since its export"):
        to_pack(moved, tmp_path / "a.zip", golden=images()[0][:1])
    older = dataclasses.replace(moved, npz_sha256="")  # a report that does not have the hash
    np.savez(tmp_path / "head.npz", **{**arrays, "scores_bias": np.zeros(4, "float32")})
    with pytest.raises(ExportError, match=r"does not belong .*'scores_bias'"):
        to_pack(older, tmp_path / "a.zip", golden=images()[0][:1])
    np.savez(tmp_path / "head.npz", **{**arrays, "digest": np.array("other")})
    with pytest.raises(ExportError, match=r"does not belong .*digest"):
        to_pack(older, tmp_path / "a.zip", golden=images()[0][:1])
    (tmp_path / "head.npz").write_bytes(b"PK")
    with pytest.raises(ExportError, match=r"no \.npz file"):
        to_pack(older, tmp_path / "a.zip", golden=images()[0][:1])
    assert not (tmp_path / "a.zip").exists()


def test_made_up_targets_are_what_a_loss_takes():
    classes = made_up_targets("categorical_crossentropy", (40, 3))
    np.testing.assert_array_equal(classes.sum(1), 1)
    assert classes.any(0).all() and classes.dtype == "float32"
    assert set(np.unique(made_up_targets("binary_crossentropy", (40, 3)))) == {0, 1}
    values = made_up_targets("mean_squared_error", (40, 3))
    assert len(np.unique(values)) == 120 and 0 <= values.min() and values.max() <= 1
    np.testing.assert_array_equal(values, made_up_targets("mean_squared_error", (40, 3)))
