"""A folder with one page that runs an exported classifier of images or texts in the browser, by LiteRT.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from ..errors import ExportError
from ..files import check_target, replacing
from ..report import Report, check_labels
from ..scratch import scratch
from ..tflite_file import read_operations
from ..trainable_report import TrainableReport
from .first_weights import safetensors
from .model_json import WEB, check_dtypes, file_json, picture_json
from .teaching import WEIGHTS, lesson_files, lesson_json


@dataclass(frozen=True)
class _Page:
    """What page.html shows, and its files in the folder, with what they are copies of."""

    title: str
    main: str
    files: Mapping[str, str]

    def html(self) -> str:
        shell = Template((WEB / "page.html").read_text(encoding="utf-8"))
        return shell.substitute(title=self.title, main=(WEB / self.main).read_text(encoding="utf-8"))


def _copies(app: str, *names: str) -> dict[str, str]:
    return {"app.js": app, **{name: name for name in ("style.css", "page.js", *names)}}


_IMAGES = _Page("Image classifier", "image.html", _copies("image.js", "pixels.js"))
_TEXTS = _Page("Text classifier", "text.html", _copies("text.js", "wordpiece.js"))
_LESSONS = _Page(
    "Teach a classifier",
    "teach.html",
    _copies(
        "teach.js", "teach.css", "pixels.js", "head.js", "batches.js", "training.js", "safetensors.js",
        "weights.js", "classes.js", "cards.js", "camera.js",
    ),
)  # fmt: skip
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


def to_web(
    report: Report | TrainableReport, folder: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a page that runs an exported classifier of images or texts in the browser, by LiteRT.js.

    The folder holds the page, the model, `model.json` that says what the model takes and gives, and the
    runtime's files: all that the page needs, so that it works offline, from any static web server. Whoever
    opens it drops an image on it and sees the classes with the highest scores and the time that it took; the
    image stays in the browser. A file whose report has a rule for texts (`text`) gets a page with a box for a
    text instead, which splits it into the same token ids as `report.text.encode`, and says what the
    vocabulary lacks and what was cut off.

    A file that learns on the device (`to_trainable_tflite`) gets a page that teaches it: whoever opens it
    names classes, as many as the file has outputs, gives each pictures or frames of the webcam, trains, tries
    a picture, and downloads the weights with the names as a safetensors file. The page reads that file again,
    and so does `load_head`. The page's model has steps of `batch` samples, 16 where the file leaves that open
    (LiteRT.js takes no open sizes), and is held against the exported file.

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
            io="uint8"). Or what `to_trainable_tflite` returned, for a model with one such image, and 2 to 50
            classes.
        folder: The folder to be made, 19 MB without the model.
        overwrite: Replace a folder that `to_web` has made before, once the new one is whole.

    Returns:
        The folder.

    Raises:
        TypeError: `report` is neither a Report nor a TrainableReport.
        ValueError: The page can't feed such a model.
        FileNotFoundError, FileExistsError, OSError: The folder can't be written.
        ExportError: A file is gone or was changed since its export, or npm is missing or could not fetch
            LiteRT.js. Nothing was written.

    Example:
        ```python
        report = kerasft.export.to_tflite(model, "model.tflite", labels=names, holdout=test)
        kerasft.export.to_web(report, "page")  # then: python -m http.server --directory page

        report = kerasft.export.to_trainable_tflite(model, "head.tflite", optimizer="adam", new_classes=5)
        kerasft.export.to_web(report, "school")
        ```

    References:
        https://ai.google.dev/edge/litert/web
    """
    target = Path(folder).absolute()
    if isinstance(report, TrainableReport):
        page, about = _LESSONS, lesson_json(report)
    elif isinstance(report, Report):
        _check_output(report)
        page, about = (_IMAGES, _of_images(report)) if report.text is None else (_TEXTS, _of_texts(report))
    else:
        raise TypeError(
            "to_web takes the report that to_tflite or to_trainable_tflite returned; received "
            f"{type(report).__name__}."
        )
    _check_folder(target, overwrite=overwrite)
    state = None
    if isinstance(report, TrainableReport):
        content, state = lesson_files(report, about)
    else:
        content = report.read_file()
        about["probabilities"] = _gives_probabilities(content)
    with scratch() as temporary:
        installed = _install(temporary)
        with replacing(target, overwrite=overwrite) as partial:
            partial.joinpath("litert", "wasm").mkdir(parents=True)
            (partial / "index.html").write_text(page.html(), encoding="utf-8")
            for name, made_of in page.files.items():
                shutil.copyfile(WEB / made_of, partial / name)
            for source, name in _RUNTIME.items():
                shutil.copyfile(installed / source, partial / "litert" / name)
            (partial / about["model"]).write_bytes(content)
            if state is not None:
                (partial / WEIGHTS).write_bytes(safetensors(state, about["digest"]))
            text = json.dumps(about, indent=2, ensure_ascii=False)
            (partial / "model.json").write_text(text, encoding="utf-8")
    return Path(folder)


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


def _of_texts(report: Report) -> dict[str, Any]:
    """The content of model.json for a model of token ids."""
    text = report.text
    assert text is not None
    check_dtypes(report, report.outputs)
    what = {text.ids: "ids", text.mask: "mask", text.types: "types"}
    for tensor in report.inputs:
        if tensor.shape != (1, text.sequence_length) or tensor.dtype != "int32" or tensor.name not in what:
            raise ValueError(
                f"The page feeds the model int32 ids of the shape (1, {text.sequence_length}); the input "
                f"{tensor.name!r} of {report.path} is {tensor.dtype} of the shape {tensor.shape}. Export it "
                "with text=… and batch=1."
            )
    inputs = [{"name": t.name, "what": what[t.name], "shape": t.shape} for t in report.inputs]
    return {**file_json(report, report.outputs[0]), "inputs": inputs, "text": text.to_dict()}


def _of_images(report: Report) -> dict[str, Any]:
    """The content of model.json for a model of images."""
    check_dtypes(report, report.outputs)
    return {**file_json(report, report.outputs[0]), **picture_json(report, report.inputs[0])}


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
        shutil.copyfile(WEB / name, folder / name)
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
