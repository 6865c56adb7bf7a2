"""A folder with one page that runs an exported classifier of images or texts in the browser, by LiteRT.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..files import check_target, replacing
from ..report import Report, TensorInfo, check_labels
from ..scratch import scratch
from ..tflite_file import read_operations
from .pixels import DTYPES, pixel_normalization

_WEB = Path(__file__).parent / "web"
# The files of a page, with what they are made of.
_IMAGES = {name: name for name in ("index.html", "style.css", "page.js", "app.js", "pixels.js")}
_TEXTS = {
    "index.html": "text.html", "style.css": "style.css", "page.js": "page.js", "app.js": "text.js",
    "wordpiece.js": "wordpiece.js",
}  # fmt: skip
_MADE = ("index.html", "style.css", "app.js", "model.json")  # of every page that to_web has made
_LOCK = ("package.json", "package-lock.json")
# What the page needs of node_modules/@litertjs. The runtime comes twice: for browsers with relaxed SIMD and
# for those without. Its other builds need headers from the server (threads) or WebAssembly's newest (JSPI).
_RUNTIME = {
    "core/dist/index.js": "core.js",
    "wasm-utils/dist/index.js": "wasm-utils.js",
    "core/wasm/litert_wasm_internal.js": "wasm/litert_wasm_internal.js",
    "core/wasm/litert_wasm_internal.wasm": "wasm/litert_wasm_internal.wasm",
    "core/wasm/litert_wasm_compat_internal.js": "wasm/litert_wasm_compat_internal.js",
    "core/wasm/litert_wasm_compat_internal.wasm": "wasm/litert_wasm_compat_internal.wasm",
}
_SECONDS = 600


def to_web(report: Report, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a page that runs an exported classifier of images or texts in the browser, by LiteRT.js.

    The folder holds the page, the model, `model.json` that says what the model takes and gives, and the
    runtime's files: all that the page needs, so that it works offline, from any static web server. Whoever
    opens it drops an image on it and sees the classes with the highest scores and the time that it took; the
    image stays in the browser. A file whose report has a rule for texts (`text`) gets a page with a box for a
    text instead, which splits it into the same token ids as `report.text.encode`, and says what the
    vocabulary lacks and what was cut off.

    An image is turned as EXIF says and stretched to the model's height and width, nothing is cut off. How,
    the report's `pixels` say: `background` is the colour under transparent parts (white without it), and
    `resize` is "antialias" (Pillow's BILINEAR; also without it), "bilinear" or "mediapipe" (four pixels), as
    `kerasft.data.PixelRule` has them. The result is rounded to whole numbers. Models with one channel get it
    in grey, as 0.299 R + 0.587 G + 0.114 B. Pixels of 0..255 are then normalized as the report says: by its
    `normalization`; without one, stretched over its `input_range`.

    LiteRT.js comes from npm, in the version that web/package-lock.json pins; npm keeps it in its cache, so
    that only the first call needs the network.

    Args:
        report: What `to_tflite` returned, for a model with one input (1, height, width, 1 or 3) or with
            token ids, and one output (1, classes); images and scores float32 or uint8 (io="float" or
            io="uint8").
        folder: The folder to be made, 19 MB without the model.
        overwrite: Replace a folder that `to_web` has made before, once the new one is whole.

    Returns:
        The folder.

    Raises:
        TypeError: `report` is not a Report.
        ValueError: The page can't feed such a model.
        FileNotFoundError, FileExistsError, OSError: The folder can't be written.
        ExportError: The file is gone or was changed since its export, or npm is missing or could not fetch
            LiteRT.js. Nothing was written.

    Example:
        ```python
        report = kerasft.export.to_tflite(model, "model.tflite", labels=names, holdout=test)
        kerasft.export.to_web(report, "page")  # then: python -m http.server --directory page
        ```

    References:
        https://ai.google.dev/edge/litert/web
    """
    target = Path(folder).absolute()
    if not isinstance(report, Report):
        raise TypeError(f"to_web takes the Report that to_tflite returned; received {type(report).__name__}.")
    page = _IMAGES if report.text is None else _TEXTS
    _check_output(report)
    about = _of_images(report) if report.text is None else _of_texts(report)
    _check_folder(target, overwrite=overwrite)
    content = report.read_file()
    about["probabilities"] = _gives_probabilities(content)
    with scratch() as temporary:
        installed = _install(temporary)
        with replacing(target, overwrite=overwrite) as partial:
            partial.joinpath("litert", "wasm").mkdir(parents=True)
            for name, made_of in page.items():
                shutil.copyfile(_WEB / made_of, partial / name)
            for source, name in _RUNTIME.items():
                shutil.copyfile(installed / source, partial / "litert" / name)
            (partial / about["model"]).write_bytes(content)
            text = json.dumps(about, indent=2, ensure_ascii=False)
            (partial / "model.json").write_text(text, encoding="utf-8")
    return Path(folder)


def _check_image(report: Report) -> None:
    shape = report.inputs[0].shape
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1 or shape[3] not in (1, 3):
        raise ValueError(
            "The page feeds the model one image, of shape (1, height, width, 1 or 3); the input "
            f"{report.inputs[0].name!r} of {report.path} has the shape {shape}."
        )
    _check_dtypes(report, (*report.inputs, *report.outputs))


def _check_output(report: Report) -> None:
    if len(report.outputs) != 1 or (report.text is None and len(report.inputs) != 1):
        raise ValueError(
            f"The page runs models with one input and one output, or with token ids; {report.path} has "
            f"{len(report.inputs)} and {len(report.outputs)}."
        )
    if len(report.outputs[0].shape) != 2 or report.outputs[0].shape[0] != 1:
        raise ValueError(
            f"The page shows one score for each class, of shape (1, classes); the output "
            f"{report.outputs[0].name!r} of {report.path} has the shape {report.outputs[0].shape}."
        )
    if report.labels is not None:
        check_labels(report.labels, report.outputs[0].shape[1])


def _check_dtypes(report: Report, tensors: Iterable[TensorInfo]) -> None:
    for tensor in tensors:
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"LiteRT.js takes {' and '.join(DTYPES)}, but {tensor.name!r} of {report.path} is "
                f"{tensor.dtype}. Export the model with io='float'; at precision='int8' it still computes in "
                "integers."
            )


def _model_json(report: Report) -> dict[str, Any]:
    """What model.json has of every model, but for what is read from the file."""
    version = json.loads((_WEB / "package.json").read_text())["dependencies"]["@litertjs/core"]
    return {
        "model": "model.tflite",
        "name": Path(report.path).name,
        "precision": report.precision,
        "bytes": report.size_bytes,
        "labels": report.labels,
        "output": asdict(report.outputs[0]),
        "runtime": f"LiteRT.js {version}",
    }


def _of_texts(report: Report) -> dict[str, Any]:
    """The content of model.json for a model of token ids."""
    text = report.text
    assert text is not None
    _check_dtypes(report, report.outputs)
    what = {text.ids: "ids", text.mask: "mask", text.types: "types"}
    for tensor in report.inputs:
        if tensor.shape != (1, text.sequence_length) or tensor.dtype != "int32" or tensor.name not in what:
            raise ValueError(
                f"The page feeds the model int32 ids of the shape (1, {text.sequence_length}); the input "
                f"{tensor.name!r} of {report.path} is {tensor.dtype} of the shape {tensor.shape}. Export it "
                "with text=… and batch=1."
            )
    inputs = [{"name": t.name, "what": what[t.name], "shape": t.shape} for t in report.inputs]
    return {**_model_json(report), "inputs": inputs, "text": text.to_dict()}


def _of_images(report: Report) -> dict[str, Any]:
    """The content of model.json for a model of images."""
    _check_image(report)
    mean, std = _normalization(report)
    pixels = report.pixels or {}
    return {
        **_model_json(report),
        "input": asdict(report.inputs[0]),
        "background": pixels.get("background", "white"),
        "resize": pixels.get("resize", "antialias"),
        "mean": mean,
        "std": std,
    }


def _normalization(report: Report) -> tuple[list[float], list[float]]:
    """(mean, std) of pixels of 0..255, one of each for each channel."""
    found = pixel_normalization(input_range=report.input_range, normalization=report.normalization)
    if found is None:
        raise ValueError(
            f"The report on {report.path} does not say which values the model takes, so the page can't give "
            "it pixels. Export it with input_range=(0, 255), or whichever range it was trained on, or with "
            "normalization=(mean, std) in units of 0..255."
        )
    channels = report.inputs[0].shape[3]
    values = []
    for value in found:
        flat = np.asarray(value, dtype=float).ravel()
        if flat.size not in (1, channels):
            raise ValueError(
                f"normalization has {flat.size} values, but the images of {report.path} have {channels} "
                "channels."
            )
        values.append(np.broadcast_to(flat, (channels,)).tolist())
    return values[0], values[1]


def _check_folder(target: Path, *, overwrite: bool) -> None:
    check_target(target, overwrite=overwrite)
    made = all((target / name).is_file() for name in _MADE)
    empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not made and not empty:
        raise FileExistsError(f"{target} was not made by to_web, so it stays. Choose another path.")


def _gives_probabilities(content: bytes) -> bool:
    """Whether the file ends with a softmax or a sigmoid."""
    operations = read_operations(content)
    makers = {t.name: o for o in operations for t in o.outputs}
    read = {t.name for o in operations for t in o.inputs}
    last = next((o for o in operations if not any(t.name in read for t in o.outputs)), None)
    while last is not None and last.name in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
        last = makers.get(last.inputs[0].name)
    return last is not None and last.name in ("SOFTMAX", "LOGISTIC")


def _install(folder: Path) -> Path:
    """Let npm bring the pinned LiteRT.js into a folder; returns where it lies."""
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(
            "The page runs on LiteRT.js, which npm brings, and npm was not found. Install Node.js from "
            "https://nodejs.org or your system's packages; npm is part of it. Nothing was written."
        )
    for name in _LOCK:
        shutil.copyfile(_WEB / name, folder / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"npm did not bring LiteRT.js within {_SECONDS} seconds. Check the connection to npm's registry "
            "by `npm ping`. Nothing was written."
        ) from error
    if result.returncode != 0:
        raise ExportError(
            "npm could not bring LiteRT.js. Check the connection to npm's registry by `npm ping`. Nothing "
            f"was written. npm said: {result.stderr.strip()[-800:]}"
        )
    return folder / "node_modules" / "@litertjs"
