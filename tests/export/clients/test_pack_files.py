"""Files of a pack: manifests of both versions, and first values that stand there twice."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from kerasft.export.clients.pack_files import Members, PackError, check_state, read_manifest, reading

KERNEL, STEP = np.arange(6, dtype="<f4").reshape(2, 3), np.zeros(1, "<f4")
ARRAYS = [
    {"name": "kernel", "shape": [2, 3], "dtype": "float32", "file": "state/value_0.bin"},
    {"name": "step", "shape": [1], "dtype": "float32", "file": "state/value_1.bin"},
]
MANIFEST = {
    "format": "kerasft golden pack",
    "format_version": 2,
    "model": "model.tflite",
    "signatures": {},
    "cases": [],
    "state": {"npz": "state.npz", "digest": "abc", "arrays": ARRAYS},
}


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def members(**changes):
    """The files of a pack, which need no model to be read."""
    found = {
        "model.tflite": b"model",
        "state.npz": npz(digest=np.array("abc"), kernel=KERNEL, step=STEP),
        "state/value_0.bin": KERNEL.tobytes(),
        "state/value_1.bin": STEP.tobytes(),
    }
    return {**found, **{name.replace("__", "/").replace("_dot_", "."): c for name, c in changes.items()}}


def written(path, files, manifest=MANIFEST):
    hashes = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("manifest.json", json.dumps({**manifest, "files": hashes}))
    return path


def checked(path):
    with reading(path) as found:
        manifest = read_manifest(found)
        check_state(found, manifest["state"])
        return manifest


def test_first_values_that_agree(tmp_path):
    manifest = checked(written(tmp_path / "a.zip", members()))
    assert {key: manifest[key] for key in MANIFEST} == MANIFEST
    with reading(tmp_path / "a.zip") as found:
        np.testing.assert_array_equal(found.array(ARRAYS[0]), KERNEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state__value_0_dot_bin": (KERNEL + 1).tobytes()}, "'kernel' in state.npz .* other first values"),
        ({"state__value_0_dot_bin": KERNEL.tobytes()[:-4]}, "value_0.bin has 20 bytes"),
        ({"state_dot_npz": b""}, "state.npz in .* is no .npz file"),
        ({"state_dot_npz": npz(kernel=KERNEL, step=STEP)}, "has the digest '', not 'abc'"),
        ({"state_dot_npz": npz(digest=np.array("abc"), kernel=KERNEL)}, r"both have the arrays \['step'\]"),
        (
            {"state_dot_npz": npz(digest=np.array("abc"), kernel=KERNEL.T, step=STEP)},
            r"\[3, 2\]; .* \[2, 3\]",
        ),
    ],
)
def test_first_values_that_do_not(tmp_path, changes, message):
    with pytest.raises(PackError, match=message):
        checked(written(tmp_path / "a.zip", members(**changes)))


def test_a_state_without_its_files_is_named(tmp_path):
    for name in ("state.npz", "state/value_1.bin"):
        files = members()
        del files[name]
        with pytest.raises(PackError, match=f"{name} has no hash"):
            checked(written(tmp_path / "a.zip", files))


def test_a_manifest_of_version_1_is_read_as_one_of_version_2(tmp_path):
    image = {"file": "a.bin", "dtype": "float32", "shape": [1]}
    older = {
        "format": "kerasft golden pack", "format_version": 1, "model": "model.tflite", "signature": "serve",
        "inputs": [{"name": "x"}], "outputs": [{"name": "y"}],
        "cases": [{"inputs": {"x": image}, "outputs": {"y": image}}],
    }  # fmt: skip
    path = written(tmp_path / "a.zip", {"model.tflite": b"", "a.bin": b"\0\0\0\0"}, older)
    with reading(path) as found:
        manifest = read_manifest(found)
    assert manifest["signatures"] == {"serve": {"inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}}
    assert [(c["signature"], c["steps"]) for c in manifest["cases"]] == [("serve", 1)]
    assert manifest["state"] is None


def test_a_member_is_read_up_to_a_size(tmp_path):
    written(tmp_path / "a.zip", members())
    found = Members(tmp_path / "a.zip")
    assert found.read("model.tflite", 5) == b"model"
    with pytest.raises(PackError, match="model.tflite in .* takes 5 bytes; at most 4 are read"):
        found.read("model.tflite", 4)
    found.close()
