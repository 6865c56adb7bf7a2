"""Golden packs: a .tflite file with inputs and the outputs that it must give, for a test on any device.

A pack is a zip file. A test in C++ or Kotlin needs a JSON parser and file reads: for each case read the input
files, resize inputs with an open axis to the case's shape, invoke the case's signature as often as it has
steps, and hold each value against the output file: |computed - golden| <= tolerance, as stored. Of each step
the outputs are the next one's inputs of their names. `python verify.py` in the unpacked pack does the same.

    model.tflite  labels.txt (UTF-8, one a line, in the output's order)  manifest.json
    verify.py  pack_files.py (which verify.py reads packs with)
    vocabulary.txt (of a model of token ids: UTF-8, one a line, in the order of the ids)
    golden/000/inputs_0.bin …  golden/000/outputs_0.bin …  golden/001/…
    state.npz  state/value_0.bin … (of a file that trains: the first values of weights and slots, twice)

The .bin files hold bare values, little-endian, row-major (the last axis runs fastest), a bool in one byte.
manifest.json, with "|" for alternatives:

    {
      "format": "kerasft golden pack", "format_version": 2,    a reader refuses a higher version
      "model": "model.tflite", "labels": "labels.txt" | null,
      "precision": "int8", "preprocessing": "by the client: …",
      "input_range": [0, 255] | null,                          of the graph
      "normalization": [127, 128] | null,                      (mean, std); it was applied to golden inputs
      "signatures": {"serving_default": {                      or features, train, scores and classify
        "inputs": [{"name": "image", "shape": [1, 8, 8, 3],    -1 is an open axis
                    "dtype": "int8",                           as numpy writes it
                    "scale": 0.5, "zero_point": -128} …],      x = (stored - zero_point) * scale | null, null
        "outputs": [{"name": "scores", "shape": …, "dtype": …, "scale": …, "zero_point": …,
                     "tolerance": 2,                           as stored: in steps for integers, else absolute
                     "kernel_spread": 1} …]} …},               see tolerance.py; in the same unit
      "text": {"vocabulary": "vocabulary.txt", "sequence_length": 64, "lower_case": true,
               "strip_accents": true, "ids": "ids", "mask": "mask" | null, "types": …, "padding": "[PAD]",
               "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]"} | null,    WordPiece, see wordpiece.py
      "state": {"npz": "state.npz", "digest": "…",             which stands in the .npz as well
                "arrays": [{"name": "scores_kernel", "shape": [64, 3], "dtype": "float32",
                            "layer": "scores", "kind": "weight" | "slot" | "step",
                            "file": "state/value_0.bin"} …]    in the signatures' order
               } | null,
      "training": {"depth": "scores", "loss": "categorical_crossentropy", "label_smoothing": 0.0,
                   "optimizer": {"name": "sgd", …}, "new_classes": false, "off": […]} | null,
      "cases": [{"signature": "serving_default", "steps": 1,
                 "text": "A text" | null,                      whose ids the inputs are
                 "inputs": {"image": {"file": "golden/000/inputs_0.bin",
                                      "dtype": "int8", "shape": [1, 8, 8, 3]}},
                 "outputs": {"scores": {"file": …, "dtype": …, "shape": …}}} …],
      "parity": {"max_abs": …, "max_relative": …, …},          the file against the Keras model, at its export
      "license": "Apache-2.0" | null,                          the backbone's, name or text
      "runtime": "ai-edge-litert 2.3.0", "machine": "x86_64 Linux",        where the golden outputs come from
      "versions": {"keras": …, "tensorflow": …, …},
      "files": {"model.tflite": {"sha256": "…", "bytes": 4242}, …}         all but manifest.json
    }

In version 1 all cases are of one step and of `"signature"`, whose `"inputs"` and `"outputs"` stand in the
manifest itself.

Golden outputs are what the file itself gives in LiteRT on one thread of a CPU. Delegates to a GPU or NPU
compute in half precision or round their own way: allow them 1e-2 of the largest value, or more.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..files import check_target, replacing
from ..parity import Sample
from ..report import SIGNATURE, Report, TensorInfo, check_labels
from ..tflite_file import tensor_infos
from ..trainable_report import TrainableReport
from . import pack_files, verify
from .golden import GoldenCase, golden_inputs, training_cases
from .tolerance import allowed_difference, steps_of_floats

Run = Callable[..., Sample]
Edges = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]  # inputs and outputs of a signature

_MOST_BYTES = 2**28
_PLAIN = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
_FROM_REPORT = ("precision", "preprocessing", "input_range", "normalization", "parity", "versions")
_OF_TRAINING = ("depth", "loss", "label_smoothing", "optimizer", "new_classes", "off")
# Signatures whose kernels compute in float32, whatever the precision of the file is.
_IN_FLOAT32 = ("train", "scores")


def to_pack(
    report: Report | TrainableReport,
    path: str | os.PathLike[str],
    *,
    golden: Any,
    license: str | None = None,
    overwrite: bool = False,
) -> verify.Verification:
    """Write a .tflite file and what it must compute as one zip file, verified before it gets its name.

    The pack of a file that trains holds the first values of its weights and slots as well, and cases of all
    four signatures: features and scores of each golden input, and one training step and five from the first
    values on, with the weights, slots and loss that they must give.

    Args:
        report: What `to_tflite` or `to_trainable_tflite` returned; its file must still be there, unchanged.
        path: The pack, ending in `.zip`.
        golden: One array with a batch axis, or named ones, of 1 to 64 samples in the units of the graph, for
            the model's inputs; inputs that are quantized get clip(round(x / scale + zero_point)). Of a model
            of token ids it may be a list of texts, which the pack holds as well.
        license: Licence of the backbone, an SPDX identifier or the text; recorded.
        overwrite: Replace an existing file, once the new one is verified.

    Returns:
        What `verify_pack` found in the finished pack on this machine.

    Raises:
        TypeError, ValueError: An argument is wrong.
        FileNotFoundError, FileExistsError, OSError: The pack can't be written.
        ImportError: ai-edge-litert is missing.
        ExportError: The file is gone or was changed since its export, gives values that are not finite, or
            depends so much on the kernels that no tolerance would mean anything. Nothing is left behind.

    Example:
        ```python
        report = kerasft.export.to_tflite(model, "model.tflite", holdout=test)
        print(kerasft.export.to_pack(report, "model.zip", golden=images[:8], license="Apache-2.0"))
        ```
    """
    target = Path(path)
    _check_arguments(report, target, license)
    labels = "".join(f"{label}\n" for label in check_labels(report.labels or (), None))
    check_target(target, overwrite=overwrite)
    content = report.read_file()
    npz, state = report.read_state() if isinstance(report, TrainableReport) else (b"", {})
    runs = {name: verify.load(content, name) for name in report.signatures}
    tensors = {
        name: (_numbers(run.get_input_details()), _numbers(run.get_output_details()))
        for name, run in runs.items()
    }
    cases = _cases(report, golden, tensors, runs, state)
    plain = {name: verify.load(content, name, kernels=_PLAIN) for name in runs}
    results = _results(cases, runs, plain, len(npz) + sum(value.nbytes for value in state.values()))
    described = _described(report, content, tensors, cases, results)
    with replacing(target, overwrite=overwrite) as partial:
        with zipfile.ZipFile(partial, "w") as archive:
            pack = _Pack(archive)
            pack.add("model.tflite", content)
            for file in (verify.__file__, pack_files.__file__):
                pack.add(Path(file).name, Path(file).read_bytes())
            if labels:
                pack.add("labels.txt", labels.encode())
            if report.text is not None:
                pack.add("vocabulary.txt", "".join(f"{token}\n" for token in report.text.tokens).encode())
            held = {}
            if state:
                pack.add("state.npz", npz)
                held = pack.arrays("state/value", state)
            stored = [
                _stored_case(pack, number, case, got, held)
                for number, (case, (got, _)) in enumerate(zip(cases, results, strict=True))
            ]
            manifest = _manifest(report, described, stored, held, license, pack.files)
            pack.add("manifest.json", json.dumps(manifest, indent=1, default=np.ndarray.tolist).encode())
        verified = verify.verify_here(partial)
        if not verified.ok:
            raise ExportError(f"The file does not give the same outputs twice:\n{verified}")
    return replace(verified, path=str(target))


class _Pack:
    """A zip file in the making: the same contents give the same bytes."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: bytes) -> None:
        """Write a member, and note its hash."""
        info = zipfile.ZipInfo(name)  # its date is that of the format, not today's
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        self._archive.writestr(info, content)
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def arrays(self, stem: str, named: Sample) -> dict[str, dict[str, Any]]:
        """Write arrays as bare values; return where and what they are, by name."""
        written = {}
        for number, (name, value) in enumerate(named.items()):
            file = f"{stem}_{number}.bin"
            self.add(file, value.astype(value.dtype.newbyteorder("<")).tobytes())
            written[name] = {"file": file, "dtype": value.dtype.name, "shape": list(value.shape)}
        return written


def _cases(
    report: Report | TrainableReport,
    golden: Any,
    tensors: Mapping[str, Edges],
    runs: Mapping[str, Run],
    state: Sample,
) -> list[GoldenCase]:
    """What the file is asked for, from golden inputs on."""
    texts = _texts(report, golden)
    if texts is not None and report.text is not None:
        golden = report.text.encode(texts)
    trains = isinstance(report, TrainableReport)
    samples = golden_inputs(golden, tensors["features" if trains else SIGNATURE][0])
    if isinstance(report, TrainableReport):
        return training_cases(report, samples, state, runs["features"], texts)
    return [
        GoldenCase(SIGNATURE, sample, text=None if texts is None else texts[number])
        for number, sample in enumerate(samples)
    ]


def _stored_case(
    pack: _Pack, number: int, case: GoldenCase, got: Sample, held: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what a case takes and gives; first values stand in the pack once."""
    own = {name: value for name, value in case.inputs.items() if name not in held}
    inputs = {**{n: v for n, v in held.items() if n in case.inputs}, **pack.arrays(_stem(number, "in"), own)}
    outputs = pack.arrays(_stem(number, "out"), got)
    return {
        "signature": case.signature, "steps": case.steps, "text": case.text,
        "inputs": inputs, "outputs": outputs,
    }  # fmt: skip


def _stem(number: int, side: str) -> str:
    return f"golden/{number:03}/{side}puts"


def _check_arguments(report: Report | TrainableReport, target: Path, license: str | None) -> None:
    if not isinstance(report, Report | TrainableReport):
        raise TypeError(
            f"report is what to_tflite or to_trainable_tflite returns; received {type(report).__name__}."
        )
    if target.suffix != ".zip" or target.is_dir():
        raise ValueError(f"The path of a golden pack ends in .zip; received {target}.")
    if license is not None and not license.strip():
        raise ValueError("license is empty. Give the licence's identifier or text, or leave it out.")


def _texts(report: Report | TrainableReport, golden: Any) -> list[str] | None:
    """Golden inputs that are texts, or None."""
    if isinstance(golden, str) or not isinstance(golden, list | tuple | np.ndarray):
        return None
    texts = golden.tolist() if isinstance(golden, np.ndarray) and golden.dtype.kind in "UO" else golden
    if isinstance(texts, np.ndarray) or not any(isinstance(text, str) for text in texts):
        return None
    if report.text is None:
        raise ValueError(
            f"golden holds texts, and the report on {report.path} does not say how a text becomes what the "
            "file takes. Export it with text=kerasft.export.Text(…), or give token ids."
        )
    return list(texts)


def _manifest(
    report: Report | TrainableReport,
    signatures: dict[str, Any],
    cases: list[dict[str, Any]],
    held: Mapping[str, dict[str, Any]],
    license: str | None,
    files: dict[str, Any],
) -> dict[str, Any]:
    """The manifest; the head of this module describes it."""
    fields, state, training = asdict(replace(report, text=None)), None, None
    if isinstance(report, TrainableReport):
        arrays = [{**asdict(entry), "file": held[entry.name]["file"]} for entry in report.state]
        state = {"npz": "state.npz", "digest": report.digest, "arrays": arrays}
        training = {key: fields[key] for key in _OF_TRAINING}
    return {
        "format": pack_files.FORMAT,
        "format_version": pack_files.FORMAT_VERSION,
        "model": "model.tflite",
        "labels": "labels.txt" if report.labels else None,
        **{key: fields[key] for key in _FROM_REPORT},
        "text": None if report.text is None else {**report.text.to_dict(), "vocabulary": "vocabulary.txt"},
        "signatures": signatures,
        "state": state,
        "training": training,
        "cases": cases,
        "license": license,
        "runtime": verify.RUNTIME,
        "machine": verify.MACHINE,
        "files": files.copy(),
    }


def _numbers(signature: Mapping[str, Mapping[str, Any]]) -> tuple[TensorInfo, ...]:
    """The inputs or the outputs of a signature, which hold numbers."""
    tensors = tensor_infos(signature)
    for tensor in tensors:
        if np.dtype(tensor.dtype).kind not in "biuf":
            raise ValueError(f"A golden pack holds numbers; {tensor.name!r} has the dtype {tensor.dtype}.")
    return tensors


def _results(
    cases: list[GoldenCase], runs: Mapping[str, Run], plain: Mapping[str, Run], size: int
) -> list[tuple[Sample, Sample]]:
    """The outputs that two sets of kernels give for each case; `size` is what the pack holds besides."""
    results: list[tuple[Sample, Sample]] = []
    for case in cases:
        got, other = (verify.after(by[case.signature], case.inputs, case.steps) for by in (runs, plain))
        results.append((got, other))
        size += sum(v.nbytes for v in (*case.inputs.values(), *got.values()))
        if size > _MOST_BYTES:
            raise ValueError(
                f"The golden samples take more than {_MOST_BYTES >> 20} MiB, after {len(results)} of "
                f"{len(cases)} cases. Pass fewer."
            )
    return results


def _described(
    report: Report | TrainableReport,
    content: bytes,
    tensors: Mapping[str, Edges],
    cases: list[GoldenCase],
    results: list[tuple[Sample, Sample]],
) -> dict[str, Any]:
    """What each signature takes and gives, with tolerances of its outputs."""
    found = {}
    for signature, (inputs, outputs) in tensors.items():
        own = [pair for case, pair in zip(cases, results, strict=True) if case.signature == signature]
        steps = steps_of_floats(content, signature)
        precision = report.precision
        if isinstance(report, TrainableReport) and signature in _IN_FLOAT32:
            precision = "float32"
        described = []
        for tensor in outputs:
            pairs = [(got[tensor.name], other[tensor.name]) for got, other in own]
            allowed, spread = allowed_difference(tensor, precision, pairs, steps.get(tensor.name))
            described.append({**asdict(tensor), "tolerance": allowed, "kernel_spread": spread})
        found[signature] = {"inputs": [asdict(tensor) for tensor in inputs], "outputs": described}
    return found
