"""The script in TFLite Micro's process, and its protocol: files in a folder."""

import json
import subprocess
import sys

import numpy as np
import pytest
from kerasft.export.toolchains import micro_process
from toolchain_files import exported

tflite_micro = pytest.importorskip("tflite_micro", reason="tflite-micro has wheels for Linux on x86_64")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("files"), "float32", "float").read_file()


def asked(folder, contents, samples=None):
    """The answer of the script, and the outputs that it wrote."""
    for number, content in enumerate(contents):
        (folder / f"{number}.tflite").write_bytes(content)
    names = [f"{number}.tflite" for number in range(len(contents))]
    (folder / "request.json").write_text(json.dumps({"load": names, "inputs": 1, "outputs": 1}))
    if samples is not None:
        np.savez(folder / "inputs.npz", **{f"{i}/0": sample for i, sample in enumerate(samples)})
    subprocess.run([sys.executable, "-P", micro_process.__file__, folder], check=True, timeout=120)
    made = {}
    if (folder / "outputs.npz").exists():
        with np.load(folder / "outputs.npz") as arrays:
            made = {name: arrays[name] for name in arrays.files}
    return json.loads((folder / "answer.json").read_text()), made


@pytest.mark.process
def test_it_runs_samples_in_the_smallest_arena(content, tmp_path):
    samples = np.random.default_rng(0).uniform(0, 255, (3, 1, 8, 8, 3)).astype("float32")
    answer, made = asked(tmp_path, [content], samples)
    assert set(made) == {"0/0", "1/0", "2/0"} and answer["version"] == tflite_micro.__version__
    interpreter = tflite_micro.runtime.Interpreter.from_bytes(content, arena_size=answer["arena"])
    for i, sample in enumerate(samples):
        interpreter.set_input(sample, 0)
        interpreter.invoke()
        np.testing.assert_array_equal(made[f"{i}/0"], interpreter.get_output(0))


@pytest.mark.process
def test_it_says_why_files_do_not_load(content, tmp_path):
    hybrid = exported(tmp_path, "dynamic", "float").read_file()
    answer, made = asked(tmp_path, [content, hybrid])
    assert made == {} and answer["said"][0] == "" and "Hybrid models" in answer["said"][1]
    assert "arena" not in answer
