"""A pack is verified anywhere, by its own verify.py, and what was damaged or computes otherwise is found."""

import ast
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from kerasft.export.clients import pack_files, verify
from kerasft.export.clients.pack import to_pack
from kerasft.export.clients.verify import OutputCheck, PackError, Verification, verify_pack

from kerasft import export

# Runs a script where only the standard library and the packages of `allowed` can be imported.
ISOLATED = """
import runpy, sys
allowed, script, sys.argv = {*sys.argv[1].split(",")}, sys.argv[2], sys.argv[2:]

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names | allowed:
            raise ImportError(f"no module {name!r} on this machine")

for name in [n for n in sys.modules if n.split(".")[0] not in sys.stdlib_module_names | {"__main__"}]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    rows = (rng.normal(size=(90, 6)) + 2 * np.eye(6)[labels]).astype("float32")
    inputs = keras.Input((6,), name="row")
    x = keras.layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(rows, labels, epochs=10, verbose=0)
    return model, rows


@pytest.fixture(scope="module")
def original(trained, tmp_path_factory):
    model, rows = trained
    folder = tmp_path_factory.mktemp("packs")
    report = export.to_tflite(model, folder / "model.tflite", labels=["a", "b", "c"])
    to_pack(report, folder / "pack.zip", golden=rows[:3])
    return folder / "pack.zip"


@pytest.fixture
def members(original):
    with zipfile.ZipFile(original) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpack(members, folder):
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def edited(members, **changes):
    """The members with changes of the manifest: a function of it, or new values."""
    manifest = json.loads(members["manifest.json"])
    for key, change in changes.items():
        manifest[key] = change(manifest[key]) if callable(change) else change
    return {**members, "manifest.json": json.dumps(manifest).encode()}


OUTPUT = {"name": "scores", "scale": None, "tolerance": 1e-4}


def of_all(signatures, **changes):
    """The signatures, each with changes."""
    return {name: {**tensors, **changes} for name, tensors in signatures.items()}


def rehashed(members):
    """The members with a manifest that has their hashes."""
    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in members.items()
        if name != "manifest.json"
    }
    return edited(members, files=files)


def with_another_weight(members, model):
    """One byte of a trained weight is another: the highest of a float's, with its sign and exponent."""
    kernel = np.ascontiguousarray(model.get_layer("scores").kernel.numpy().T)
    content = bytearray(members["model.tflite"])
    at = content.index(kernel.tobytes()) + 4 * int(np.abs(kernel).argmax()) + 3
    content[at] ^= 0x80
    return {**members, "model.tflite": bytes(content)}


def test_a_pack_is_verified_packed_and_unpacked(original, members, tmp_path):
    with zipfile.ZipFile(original) as archive:
        archive.extractall(tmp_path / "pack")
    (tmp_path / "pack" / "__pycache__").mkdir()
    for path in (original, str(original), tmp_path / "pack"):
        found = verify_pack(path)
        assert found.ok and found.cases == 3 and found.precision == "float32" and found.path == str(path)
        assert found.latency_ms > 0 and found.runtime == verify.RUNTIME and found.machine == verify.MACHINE
        assert found.origin == f"{verify.RUNTIME}, {verify.MACHINE}"
        (output,) = found.outputs
        assert output.name == "scores" and output.ok and output.max_difference <= output.tolerance
        scores = [
            np.frombuffer(members[f"golden/00{i}/outputs_0.bin"], "<f4").astype("float64") for i in range(3)
        ]
        assert output.tolerance == pytest.approx(1e-4 * np.max(scores))
        assert str(found).endswith("verified") and "golden cases: 3" in str(found)


def test_a_changed_weight_is_found_by_its_hash_and_behind_it_by_the_outputs(members, trained, tmp_path):
    changed = with_another_weight(members, trained[0])
    with pytest.raises(PackError, match=r"model\.tflite in .*a\.zip was changed: its sha256"):
        verify_pack(write(tmp_path / "a.zip", changed))
    found = verify_pack(write(tmp_path / "b.zip", rehashed(changed)))
    (output,) = found.outputs
    assert not found.ok and not output.ok and output.max_difference > 100 * output.tolerance
    # the difference is that of the model with the changed weight, of the case where it is largest
    model = keras.models.clone_model(trained[0])
    model.set_weights(trained[0].get_weights())
    kernel = model.get_layer("scores").kernel.numpy()
    at = np.unravel_index(np.abs(kernel.T).argmax(), kernel.T.shape)[::-1]
    kernel[at] *= -1
    model.get_layer("scores").kernel.assign(kernel)
    rows = trained[1][:3]
    differences = np.abs(model(rows).numpy() - trained[0](rows).numpy()).max(1)
    assert output.max_difference == pytest.approx(differences.max(), rel=1e-4)
    assert output.case == differences.argmax()
    assert f"scores differs by up to {output.max_difference:.3g} (case {output.case}), allowed" in str(found)
    assert str(found).endswith("FAILED")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_other_golden_values_are_found(members, tmp_path, side):
    name = f"golden/001/{side}_0.bin"
    values = np.frombuffer(members[name], "<f4") + np.float32(0.25)
    changed = {**members, name: values.tobytes()}
    with pytest.raises(PackError, match=f"{name} in .* was changed"):
        verify_pack(write(tmp_path / "a.zip", changed))
    found = verify_pack(write(tmp_path / "b.zip", rehashed(changed)))
    assert not found.ok and found.outputs[0].case == 1
    if side == "outputs":
        assert found.outputs[0].max_difference == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_fails(members, tmp_path, bad):
    values = np.frombuffer(members["golden/002/outputs_0.bin"], "<f4").copy()
    values[1] = bad
    changed = rehashed({**members, "golden/002/outputs_0.bin": values.tobytes()})
    found = verify_pack(write(tmp_path / "a.zip", changed))
    assert not found.ok and math.isinf(found.outputs[0].max_difference)
    assert "scores is not finite (case 2)" in str(found)
    finite, other = np.array([1.0, 2.0]), np.array([1.0, bad])
    assert verify.difference("y", other, finite) == verify.difference("y", finite, other) == math.inf


def test_differences_are_those_of_the_stored_values():
    near, far = np.array([-128, 0], "int8"), np.array([127, 1], "int8")
    assert verify.difference("y", near, far) == 255  # no overflow
    assert verify.difference("y", np.array([True, False]), np.array([True, True])) == 1
    assert verify.difference("y", np.zeros((0, 2)), np.zeros((0, 2))) == 0
    with pytest.raises(PackError, match=r"'y' is float64 \(2,\); the golden one is float64 \(1, 2\)"):
        verify.difference("y", np.zeros(2), np.zeros((1, 2)))
    with pytest.raises(PackError, match="int8.*float64"):
        verify.difference("y", near, np.zeros(2))


def test_one_output_over_its_tolerance_fails_all():
    good = OutputCheck("a", max_difference=2.0, tolerance=2.0, case=0, unit=" steps")
    bad = OutputCheck("b", max_difference=2.5, tolerance=2.0, case=4, unit="")
    whole = Verification("p.zip", "int8", 5, (good,), 1.0, "r", "m", "o")
    assert good.ok and whole.ok and not bad.ok
    assert str(good) == "a differs by up to 2 steps (case 0), allowed 2: ok"
    assert not Verification("p.zip", "int8", 5, (good, bad), 1.0, "r", "m", "o").ok


@pytest.mark.parametrize(
    "name", ["model.tflite", "golden/001/inputs_0.bin", "manifest.json", "pack_files.py"]
)
def test_a_missing_member_is_named(members, tmp_path, name):
    del members[name]
    with pytest.raises(PackError, match=f"{name} is missing or damaged in .*a.zip"):
        verify_pack(write(tmp_path / "a.zip", members))
    unpack(members, tmp_path / "pack")
    with pytest.raises(PackError, match=f"{name} is missing or damaged in .*pack"):
        verify_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    "name", ["../evil.bin", "/evil.bin", "a/../../evil.bin", "a\\..\\evil", "C:evil", "a//b"]
)
def test_names_that_lead_out_of_the_pack_are_refused(members, tmp_path, name):
    (tmp_path / "evil.bin").write_bytes(b"x")
    listed = rehashed({**members, name: b"x"})
    (tmp_path / "in").mkdir()
    with pytest.raises(PackError, match="leads out of the pack"):
        verify_pack(write(tmp_path / "in" / "a.zip", listed))
    unlisted = {**members, name: b"x"}
    with pytest.raises(PackError, match="has no hash"):
        verify_pack(write(tmp_path / "in" / "b.zip", unlisted))
    (tmp_path / "in" / "manifest.json").write_bytes(listed["manifest.json"])
    with pytest.raises(PackError, match="leads out of the pack|missing"):
        verify_pack(tmp_path / "in")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_members_without_a_hash_and_twice_are_refused(members, tmp_path):
    with pytest.raises(PackError, match=r"extra\.txt has no hash"):
        verify_pack(write(tmp_path / "a.zip", {**members, "extra.txt": b"x"}))
    write(tmp_path / "b.zip", members)
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr("model.tflite", b"another")
    with pytest.raises(PackError, match=r"model\.tflite .* twice"):
        verify_pack(tmp_path / "b.zip")
    with pytest.raises(PackError, match=r"other\.tflite has no hash"):
        verify_pack(write(tmp_path / "c.zip", edited(members, model="other.tflite")))
    name = "golden/001/outputs_0.bin"
    members = edited(members, files=lambda files: {n: f for n, f in files.items() if n != name})
    unpack(members, tmp_path / "pack")
    with pytest.raises(PackError, match=f"{name} has no hash"):
        verify_pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something"}, "is a 'something' of version 2"),
        ({"format_version": 3}, "version 3; this reads .* up to version 2. Use the pack's own verify.py"),
        ({"cases": []}, "no cases"),
        ({"signatures": lambda s: of_all(s, outputs=[])}, "no outputs"),
        ({"signatures": lambda s: of_all(s, outputs=[{**OUTPUT, "tolerance": math.inf}])}, "no tolerance"),
        ({"signatures": lambda s: of_all(s, outputs=[{**OUTPUT, "tolerance": math.nan}])}, "no tolerance"),
        (
            {"signatures": lambda s: of_all(s, outputs=[{**OUTPUT, "name": "other"}])},
            "lacks something.*other",
        ),
        ({"signatures": lambda s: of_all(s, outputs=[{"name": "scores"}])}, "lacks something.*tolerance"),
        ({"signatures": lambda s: {**s, "train": s["serving_default"]}}, "can't load the model.*train"),
        ({"signatures": {}}, "lacks something.*serving_default"),
        ({"cases": "none"}, "lacks something"),
        ({"files": None}, "lacks something"),
        ({"signatures": lambda s: {"serve": s["serving_default"]}}, "can't load the model.*serve"),
        ({"cases": lambda c: [{**c[0], "outputs": {}}]}, "lacks something.*scores"),
        ({"cases": lambda c: [{**c[0], "inputs": {}}]}, "lacks something.*number of inputs"),
        ({"cases": lambda c: [{**c[0], "signature": "serve"}]}, "lacks something.*serve"),
        ({"cases": lambda c: [{**c[0], "steps": 0}]}, "Case 0 has 0 steps, and not 1 to 1000"),
        ({"cases": lambda c: [{**c[0], "steps": 1e9}]}, "Case 0 has 1000000000.0 steps"),
        ({"state": lambda _: {"npz": "state.npz", "digest": "", "arrays": []}}, "state.npz has no hash"),
    ],
)
def test_a_manifest_that_promises_nothing_is_refused(members, tmp_path, changes, message):
    with pytest.raises(PackError, match=message):
        verify_pack(write(tmp_path / "a.zip", edited(members, **changes)))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"\xff\xfe\x00", b'"text"'])
def test_what_is_no_manifest_is_refused(members, tmp_path, content):
    with pytest.raises(PackError, match=r"manifest\.json"):
        verify_pack(write(tmp_path / "a.zip", {**members, "manifest.json": content}))


def test_golden_files_of_another_size_are_refused(members, tmp_path):
    members["golden/000/inputs_0.bin"] += b"\0\0\0\0"
    with pytest.raises(PackError, match=r"inputs_0\.bin has 28 bytes, which is no float32 \[1, 6\]"):
        verify_pack(write(tmp_path / "a.zip", rehashed(members)))


def test_what_is_no_pack_is_refused(original, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"text")
    with pytest.raises(PackError, match="it is no zip file"):
        verify_pack(tmp_path / "a.zip")
    with pytest.raises(FileNotFoundError):
        verify_pack(tmp_path / "b.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackError, match=r"manifest\.json is missing"):
        verify_pack(tmp_path / "empty")
    whole = original.read_bytes()
    for part in (0.1, 0.5, 0.99):
        (tmp_path / "c.zip").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(PackError, match="damaged or cut off: copy it again"):
            verify_pack(tmp_path / "c.zip")


def test_whatever_is_damaged_is_found_or_does_no_harm(original, tmp_path):
    whole, rng = original.read_bytes(), np.random.default_rng(0)
    found = 0
    for i in range(300):
        content = bytearray(whole)
        # anywhere, and in the directory at the end
        content[rng.integers(len(whole)) if i % 2 else -rng.integers(1, 1000)] ^= 1 << rng.integers(8)
        (tmp_path / "a.zip").write_bytes(content)
        try:
            assert verify.verify_here(tmp_path / "a.zip").ok  # bytes that no reader looks at
        except PackError:
            found += 1
    assert found > 100


def run(script, *arguments, allowed="numpy,ai_edge_litert,pack_files", folder=None):
    """verify.py in a process of its own, without any other package."""
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", ISOLATED, allowed, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
    )


def test_the_packs_own_verify_needs_numpy_and_litert_only(original, members, trained, tmp_path):
    with zipfile.ZipFile(original) as archive:
        archive.extractall(tmp_path / "pack")
    shutil.copy(original, tmp_path / "pack.zip")
    script = tmp_path / "pack" / "verify.py"
    for arguments in ((), (tmp_path / "pack",), ("pack.zip",)):
        done = run(script, *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip().endswith("verified") and done.stdout.count("\n") == 4
    changed = rehashed(with_another_weight(members, trained[0]))
    done = run(script, write(tmp_path / "changed.zip", changed))
    assert done.returncode == 1 and "scores differs by up to" in done.stdout
    assert done.stdout.rstrip().endswith("FAILED")
    done = run(script, tmp_path / "none.zip")
    assert (done.returncode, done.stdout) == (1, "") and "error:" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "pack" / "labels.txt").write_text("a\nb\nd\n")
    done = run(script)
    assert done.returncode == 1 and "labels.txt" in done.stderr and "was changed" in done.stderr


def test_the_isolation_isolates(tmp_path):
    for name in ("tensorflow", "keras", "kerasft", "kerasft.export"):
        (tmp_path / "a.py").write_text(f"import {name}")
        assert "on this machine" in run(tmp_path / "a.py").stderr
    (tmp_path / "a.py").write_text("import numpy, ai_edge_litert.interpreter")
    assert run(tmp_path / "a.py").returncode == 0


def test_without_litert_it_is_said_what_to_install(original):
    done = run(verify.__file__, original, allowed="numpy,pack_files")
    assert done.returncode == 1 and "pip install ai-edge-litert numpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pack_of_version_1_is_read(members, tmp_path):
    manifest = json.loads(members["manifest.json"])
    (signature,) = manifest["signatures"]
    manifest |= {"format_version": 1, "signature": signature, **manifest.pop("signatures")[signature]}
    manifest["cases"] = [{side: case[side] for side in ("inputs", "outputs")} for case in manifest["cases"]]
    del manifest["state"], manifest["training"]
    older = {**members, "manifest.json": json.dumps(manifest).encode()}
    found = verify_pack(write(tmp_path / "a.zip", older))
    assert found.ok and found.cases == 3 and [c.name for c in found.outputs] == ["scores"]


def test_each_step_begins_with_what_the_last_one_gave():
    def run(weight, rate):
        return {"weight": weight - rate, "loss": weight * 2}

    found = verify.after(run, {"weight": 10.0, "rate": 1.0}, 3)
    assert found == {"weight": 7.0, "loss": 16.0}  # the loss before the third step


@pytest.mark.parametrize("module", [verify, pack_files])
def test_the_files_import_nothing_else_and_are_python_3_9(module):
    tree = ast.parse(Path(module.__file__).read_text(), feature_version=(3, 9))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or node.module == "pack_files"
            found.add(node.module.split(".")[0])
    others = {"numpy", "ai_edge_litert", "pack_files"} if module is verify else {"numpy"}
    assert {name for name in found if name not in sys.stdlib_module_names} == others
