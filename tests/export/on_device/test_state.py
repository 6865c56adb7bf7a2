"""Files of weights: what is written is read, by others as well, and damaged files are refused."""

import json
import struct

import numpy as np
import pytest
from kerasft.export.on_device.state import digest_of, read_state, write_npz
from safetensors_file import write_safetensors

STATE = {
    "top_kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "top_bias": np.float32([0.1, -2e-30, 3e30]),
}


def same(found, wanted=STATE):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == "float32"
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_safetensors, ".safetensors")])
def test_what_is_written_is_read(tmp_path, write, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, STATE, "abc")
    found, digest = read_state(path)
    assert digest == "abc"
    same(found)


def test_numpy_reads_it(tmp_path):
    write_npz(tmp_path / "a.npz", STATE, "abc")
    with np.load(tmp_path / "a.npz") as arrays:
        assert str(arrays["digest"]) == "abc"
        same({name: arrays[name] for name in STATE})


def test_a_file_written_by_hand(tmp_path):
    """As the ten lines of JavaScript write it: the header, then the bytes of the arrays."""
    header = json.dumps(
        {
            "__metadata__": {"digest": "abc"},
            "top_kernel": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        }
    ).encode()
    content = struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2.0)
    (tmp_path / "a.safetensors").write_bytes(content)
    found, digest = read_state(tmp_path / "a.safetensors")
    assert digest == "abc"
    same(found, {"top_kernel": np.float32([[1.5, -2.0]])})


def test_the_digest():
    a, b = np.float32([[1, 2], [3, 4]]), np.float32([5])
    digest = digest_of([a, b], new_classes=False)
    assert digest == digest_of([b, a.astype("float16")], new_classes=False)
    others = [
        digest_of([a, b], new_classes=True),
        digest_of([a], new_classes=False),
        digest_of([a, b + 1], new_classes=False),
        digest_of([a.reshape(4), b], new_classes=False),
        digest_of([a, b, b], new_classes=False),
    ]
    assert len({digest, *others}) == 6


def safetensors(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        safetensors({}, length=2**40),
        safetensors(b"{"),
        safetensors([]),
        safetensors({"a": 1}),
        safetensors(entry(dtype="F16"), b"\0" * 8),
        safetensors(entry(data_offsets=[0, 12]), b"\0" * 12),
        safetensors(entry(data_offsets=[0, 8]), b"\0" * 7),
        safetensors(entry(data_offsets=[-8, 0]), b"\0" * 8),
        safetensors(entry(shape=[-2]), b"\0" * 8),
        safetensors(entry(shape=["x"]), b"\0" * 8),
    ],
)
def test_damaged_safetensors(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        read_state(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"\x93NUMPY"])
def test_damaged_npz(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is no \.npz file"):
        read_state(tmp_path / "a.npz")


def test_what_is_no_file_of_weights(tmp_path):
    np.savez(tmp_path / "a.npz", top_kernel=np.arange(3))
    with pytest.raises(ValueError, match="'top_kernel'] in int64"):
        read_state(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", top_kernel=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"b\.npz is no"):
        read_state(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"ending in \.npz or \.safetensors"):
        read_state(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "c.npz")
