"""Golden packs: a .tflite file with inputs and the outputs that it must give, for a test on any device.

A pack is a zip file. A test in C++ or Kotlin needs a JSON parser and file reads: for each case read the input
files, resize inputs with an open axis to the case's shape, invoke, and hold each value against the output
file: |computed - golden| <= tolerance, as stored. `python verify.py` in the unpacked pack does the same.

    model.tflite  labels.txt (UTF-8, one a line, in the output's order)  verify.py  manifest.json
    vocabulary.txt (of a model of token ids: UTF-8, one a line, in the order of the ids)
    golden/000/inputs_0.bin …  golden/000/outputs_0.bin …  golden/001/…

The .bin files hold bare values, little-endian, row-major (the last axis runs fastest), a bool in one byte.
manifest.json, with "|" for alternatives:

    {
      "format": "kerasft golden pack", "format_version": 1,    a reader refuses a higher version
      "model": "model.tflite", "signature": "serving_default", "labels": "labels.txt" | null,
      "precision": "int8", "preprocessing": "by the client: …",
      "input_range": [0, 255] | null,                          of the graph
      "normalization": [127, 128] | null,                      (mean, std); it was applied to golden inputs
      "inputs": [{"name": "image", "shape": [1, 8, 8, 3],      -1 is an open axis
                  "dtype": "int8",                             as numpy writes it
                  "scale": 0.5, "zero_point": -128} …],        x = (stored - zero_point) * scale | null, null
      "outputs": [{"name": "scores", "shape": …, "dtype": …, "scale": …, "zero_point": …,
                   "tolerance": 2,                             as stored: in steps for integers, else absolute
                   "kernel_spread": 1} …],                     see tolerance.py; in the same unit
      "text": {"vocabulary": "vocabulary.txt", "sequence_length": 64, "lower_case": true,
               "strip_accents": true, "ids": "ids", "mask": "mask" | null, "types": …, "padding": "[PAD]",
               "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]"} | null,    WordPiece, see wordpiece.py
      "cases": [{"text": "A text" | null,                      whose ids the inputs are
                 "inputs": {"image": {"file": "golden/000/inputs_0.bin",
                                      "dtype": "int8", "shape": [1, 8, 8, 3]}},
                 "outputs": {"scores": {"file": …, "dtype": …, "shape": …}}} …],
      "parity": {"max_abs": …, "max_relative": …, …},          the file against the Keras model, at its export
      "license": "Apache-2.0" | null,                          the backbone's, name or text
      "runtime": "ai-edge-litert 2.3.0", "machine": "x86_64 Linux",        where the golden outputs come from
      "versions": {"keras": …, "tensorflow": …, …},
      "files": {"model.tflite": {"sha256": "…", "bytes": 4242}, …}         all but manifest.json
    }

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
from ..report import Report, TensorInfo, check_labels
from ..tflite_file import tensor_infos
from . import verify
from .golden import golden_inputs
from .tolerance import allowed_difference, steps_of_floats

Run = Callable[..., Sample]

_SIGNATURE = "serving_default"
_MOST_BYTES = 2**28
_FROM_REPORT = ("precision", "preprocessing", "input_range", "normalization", "parity", "versions")


def to_pack(
    report: Report,
    path: str | os.PathLike[str],
    *,
    golden: Any,
    license: str | None = None,
    overwrite: bool = False,
) -> verify.Verification:
    """Write a .tflite file and what it must compute as one zip file, verified before it gets its name.

    Args:
        report: What `to_tflite` returned; its file must still be there, unchanged.
        path: The pack, ending in `.zip`.
        golden: One array with a batch axis, or named ones, of 1 to 64 samples in the units of the graph;
            inputs that are quantized get clip(round(x / scale + zero_point)). Of a model of token ids it may
            be a list of texts, which the pack holds as well.
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
    run = verify.load(content, _SIGNATURE)
    inputs, outputs = _numbers(run.get_input_details()), _numbers(run.get_output_details())
    texts = _texts(report, golden)
    samples = golden_inputs(
        golden if texts is None or report.text is None else report.text.encode(texts), inputs
    )
    plain = verify.load(content, _SIGNATURE, kernels="BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    results = _results(run, plain, samples)
    described = [
        {**asdict(tensor), **_tolerance(tensor, report, results, steps_of_floats(content, _SIGNATURE))}
        for tensor in outputs
    ]
    with replacing(target, overwrite=overwrite) as partial:
        with zipfile.ZipFile(partial, "w") as archive:
            pack = _Pack(archive)
            pack.add("model.tflite", content)
            pack.add("verify.py", Path(verify.__file__).read_bytes())
            if labels:
                pack.add("labels.txt", labels.encode())
            if report.text is not None:
                pack.add("vocabulary.txt", "".join(f"{token}\n" for token in report.text.tokens).encode())
            cases = []
            for number, (sample, (got, _)) in enumerate(zip(samples, results, strict=True)):
                sides = {"inputs": sample, "outputs": {tensor.name: got[tensor.name] for tensor in outputs}}
                stored = {side: pack.arrays(f"golden/{number:03}/{side}", sides[side]) for side in sides}
                cases.append({"text": None if texts is None else texts[number], **stored})
            tensors = {"inputs": [asdict(tensor) for tensor in inputs], "outputs": described, "cases": cases}
            manifest = _manifest(report, tensors, license, pack.files)
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


def _check_arguments(report: Report, target: Path, license: str | None) -> None:
    if not isinstance(report, Report):
        raise TypeError(f"report is what to_tflite returns; received {type(report).__name__}.")
    if target.suffix != ".zip" or target.is_dir():
        raise ValueError(f"The path of a golden pack ends in .zip; received {target}.")
    if license is not None and not license.strip():
        raise ValueError("license is empty. Give the licence's identifier or text, or leave it out.")


def _texts(report: Report, golden: Any) -> list[str] | None:
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
    report: Report, tensors: dict[str, Any], license: str | None, files: dict[str, Any]
) -> dict[str, Any]:
    """The manifest; the head of this module describes it."""
    return {
        "format": verify.FORMAT,
        "format_version": verify.FORMAT_VERSION,
        "model": "model.tflite",
        "signature": _SIGNATURE,
        "labels": "labels.txt" if report.labels else None,
        **{key: value for key, value in asdict(report).items() if key in _FROM_REPORT},
        "text": None if report.text is None else {**report.text.to_dict(), "vocabulary": "vocabulary.txt"},
        **tensors,
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


def _results(run: Run, plain: Run, samples: list[Sample]) -> list[tuple[Sample, Sample]]:
    """The outputs that two sets of kernels give for each sample."""
    results: list[tuple[Sample, Sample]] = []
    for sample in samples:
        results.append((run(**sample), plain(**sample)))
        size = len(samples) * sum(v.nbytes for v in (*sample.values(), *results[0][0].values()))
        if size > _MOST_BYTES:
            raise ValueError(f"The golden samples take {size >> 20} of {_MOST_BYTES >> 20} MiB. Pass fewer.")
    return results


def _tolerance(
    tensor: TensorInfo, report: Report, results: list[tuple[Sample, Sample]], steps: Mapping[str, float]
) -> dict[str, float]:
    pairs = [(got[tensor.name], other[tensor.name]) for got, other in results]
    allowed, spread = allowed_difference(tensor, report.precision, pairs, steps.get(tensor.name))
    return {"tolerance": allowed, "kernel_spread": spread}
