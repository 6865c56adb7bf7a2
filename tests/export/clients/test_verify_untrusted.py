"""A pack from anywhere ends in one clear error, at once: whatever its sizes, its files and its model."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.clients import verify
from kerasft.export.clients.pack import to_pack
from kerasft.export.clients.verify import PackError, verify_pack

from kerasft import export


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The members of a sound pack of two cases."""
    folder = tmp_path_factory.mktemp("packs")
    model = keras.Sequential([keras.Input((6,), name="row"), keras.layers.Dense(3, name="scores")])
    report = export.to_tflite(model, folder / "model.tflite")
    to_pack(report, folder / "pack.zip", golden=np.ones((2, 6), "float32"))
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def members(original):
    return dict(original)


def write(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edited(members, change):
    """The members with a manifest that has their hashes, after a change of it."""
    manifest = json.loads(members["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in members.items()
        if name != "manifest.json"
    }
    change(manifest)
    return {**members, "manifest.json": json.dumps(manifest).encode()}


def refused(path, message):
    begin = time.perf_counter()
    with pytest.raises(PackError, match=message):
        verify_pack(path)
    assert time.perf_counter() - begin < 30  # a pipe or 4 GiB would take for ever


def test_the_pack_itself_is_sound(members, tmp_path):
    assert verify_pack(write(tmp_path / "a.zip", edited(members, lambda manifest: None))).ok


@pytest.mark.parametrize(
    ("name", "size"),
    [("model.tflite", 2**32 - 2), ("manifest.json", 2**30), ("golden/000/inputs_0.bin", 2**31)],
)
def test_sizes_that_are_only_stated(members, tmp_path, name, size):
    content = bytearray(write(tmp_path / "a.zip", members).read_bytes())
    at = content.rindex(name.encode()) - 46  # its entry in the list at the end
    assert content[at : at + 4] == b"PK\x01\x02"
    content[at + 24 : at + 28] = struct.pack("<I", size)
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", f"takes {size} bytes; at most|more than 268435456")


@pytest.mark.parametrize("name", ["manifest.json", "verify.py"])
def test_members_that_unpack_to_much(members, tmp_path, name):
    members[name] = bytes(2**24 + 1)
    members = members if name == "manifest.json" else edited(members, lambda manifest: None)
    path = write(tmp_path / "a.zip", members)
    assert path.stat().st_size < 2**20
    refused(path, f"{name} in .* takes 16777217 bytes; at most 16777216")


def test_the_same_golden_values_again_and_again(members, tmp_path):
    members["golden/000/inputs_0.bin"] = bytes(2**22)

    def change(manifest):
        manifest["cases"] *= 65

    refused(write(tmp_path / "a.zip", edited(members, change)), "take [0-9]+ bytes, more than 268435456")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "a.zip", "wb") as file:
        file.write(b"PK")
        file.truncate(2**32)  # sparse
    refused(tmp_path / "a.zip", "takes 4294967296 bytes")
    (tmp_path / "b.zip").write_bytes(b"PK" + b"PK\x05\x06" + bytes(8) + struct.pack("<I", 2**31) + bytes(6))
    refused(tmp_path / "b.zip", "list of files 2147483648")


def test_another_compression(members, tmp_path):
    refused(write(tmp_path / "a.zip", members, zipfile.ZIP_LZMA), "compressed in another way")


def test_very_many_members(members, tmp_path):
    many = {f"{i}": b"" for i in range(20000)}
    refused(write(tmp_path / "a.zip", {**members, **many}, zipfile.ZIP_STORED), "has no hash")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes")
def test_what_is_no_file(members, tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", "neither a file nor a folder")
    refused("/dev/zero", "neither a file nor a folder")
    folder = tmp_path / "pack"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert verify_pack(folder).ok
    outside = tmp_path / "outside"
    outside.write_bytes(members["verify.py"])
    (folder / "verify.py").unlink()
    (folder / "verify.py").symlink_to(outside)
    refused(folder, r"verify\.py is missing or damaged .* no file of this folder")
    (folder / "verify.py").unlink()
    os.mkfifo(folder / "verify.py")
    refused(folder, r"verify\.py is missing or damaged .* no file of this folder")


@pytest.mark.parametrize("bad", [10**400, -1, True, "1", None, [1]])
def test_tolerances(members, tmp_path, bad):
    def change(manifest):
        manifest["signatures"]["serving_default"]["outputs"][0]["tolerance"] = bad

    refused(write(tmp_path / "a.zip", edited(members, change)), "no tolerance")


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("shape", [-1, -6]),
        ("shape", [2**32, 2**32]),
        ("shape", [10**400, 6]),
        ("shape", [1.0, 6.0]),
        ("shape", [True, 6]),
        ("shape", None),
        ("dtype", "O"),
        ("dtype", "(1000000000,)f8"),
        ("dtype", "float128"),
        ("dtype", ["float32"]),
        ("file", ["a"]),
        ("file", {}),
    ],
)
def test_golden_values_of_no_kind(members, tmp_path, key, bad):
    def change(manifest):
        manifest["cases"][0]["inputs"]["row"][key] = bad

    refused(write(tmp_path / "a.zip", edited(members, change)), "is no array of|which is no|lacks something")


@pytest.mark.parametrize("content", [b"[" * 10**6, b"{" + b'"a":{' * 10**5, b"1" * 10**5, b"[]", b"NaN"])
def test_manifests_of_no_kind(members, tmp_path, content):
    members["manifest.json"] = content
    refused(write(tmp_path / "a.zip", members), r"manifest\.json")


def endless():
    """A .tflite file whose loop never ends, with the input and output of the pack."""

    @tf.function(input_signature=[tf.TensorSpec((1, 6), tf.float32, name="row")])
    def run(row):
        row = tf.while_loop(lambda x: tf.reduce_sum(x) < 1e30, lambda x: (tf.sin(x),), (row,))[0]
        return {"scores": row[:, :3]}

    module = tf.Module()
    module.run = run
    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], module)
    return converter.convert()


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_never_ends(members, tmp_path):
    members["model.tflite"] = endless()
    path = write(tmp_path / "a.zip", edited(members, lambda manifest: None))
    begin = time.perf_counter()
    with pytest.raises(PackError, match="did not end within 5 seconds .*seconds="):
        verify_pack(path, seconds=5)
    assert time.perf_counter() - begin < 60
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="seconds is a number above 0"):
            verify_pack(path, seconds=bad)


def test_a_model_that_crashes_the_runtime(members, tmp_path, monkeypatch):
    path = write(tmp_path / "a.zip", members)
    monkeypatch.setattr(verify, "_APART", "import os; os.abort()")
    refused(path, "crashes ai-edge-litert .*exit code -6" if os.name == "posix" else "crashes")


def test_errors_of_the_other_process_are_those_of_this_one(members, tmp_path, monkeypatch):
    def change(manifest):
        manifest["signatures"]["serve"] = manifest["signatures"].pop("serving_default")

    broken = edited(members, change)
    refused(write(tmp_path / "a.zip", broken), "can't load the model.*serve")
    monkeypatch.setattr(verify, "_APART", 'print(\'{"error": "OSError", "message": "so"}\')')
    with pytest.raises(OSError, match="^so$"):
        verify_pack(write(tmp_path / "b.zip", members))


def test_no_runtime_is_loaded_here(members, tmp_path):
    path = write(tmp_path / "a.zip", members)
    code = "import runpy, sys; v = runpy.run_path(sys.argv[1]); print(v['verify_pack'](sys.argv[2]).ok)"
    code += "; print('ai_edge_litert.interpreter' in sys.modules)"
    command = [sys.executable, "-c", code, verify.__file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
