"""Client code of an exported file: templates in `code/`, filled with the names and numbers of its report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..report import Report, TensorInfo, check_labels
from ..trainable_report import TrainableReport
from .pixels import pixel_normalization

_CODE = Path(__file__).parent / "code"
_LITERTJS = json.loads((_CODE.parent / "web" / "package.json").read_text())["dependencies"]["@litertjs/core"]
_WIDTH = 100  # of a line
_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
_RESIZED = {  # what makes a pixel of the model's, by the rule for pixels
    "antialias": "of all pixels that it covers, as Pillow's BILINEAR does",
    "bilinear": "of the four pixels beside its centre",
    "mediapipe": "of the four pixels beside its corner, as MediaPipe does",
}


@dataclass(frozen=True)
class Language:
    """How a language writes what a template needs.

    Attributes:
        template: The template's name.
        elements: The type of an element, by its dtype in the file.
        number: Writes a float.
        items: Writes a list of literals.
        quantized: An element of `normalized` for a file of integers; `low` and `high` are the dtype's.
        dequantized: The score of the element `x`.
        entry: An input of a signature with its shape.
        entries: A signature with its inputs.
        usage: A call that classifies pixels, of a file that does not train and of one that does.
    """

    template: str
    elements: Mapping[str, str]
    number: Callable[[float], str]
    items: Callable[[Iterable[str]], str]
    quantized: str
    dequantized: str
    entry: str
    entries: str
    usage: tuple[str, str]


def _float(value: float) -> str:
    """A number that float32 holds, in as few digits as tell it from its neighbours."""
    text = np.format_float_positional(np.float32(value), unique=True, trim="0")
    return text if len(text) < 20 else f"{np.float32(value):.8e}"


LANGUAGES = {
    "javascript": Language(
        "classifier.js", {"float32": "Float32Array", "uint8": "Uint8Array"}, _float,
        lambda items: f"[{', '.join(items)}]",
        "{element}.from(values, (x, i) => Math.min({high}, Math.max({low}, Math.round(normalized(x, i) / "
        "{scale} + {zero}))))",
        "(x - {zero}) * {scale}", '"{name}": [{shape}]', '  "{name}": {{{inputs}}},',
        (
            'read(await run(model, "{signature}", {{ {input}: preprocess(pixels) }}))',
            'read(await run(model, "{signature}", {{ {input}: preprocess(pixels), ...weights }}))',
        ),
    ),
    "kotlin": Language(
        "Classifier.kt", {"float32": "Float", "int8": "Byte"}, lambda x: f"{_float(x)}f",
        lambda items: f"floatArrayOf({', '.join(items)})",
        "(normalized / {scale} + {zero}).roundToInt().coerceIn({low}, {high}).toByte()",
        "(it - {zero}) * {scale}", '"{name}" to listOf({shape})', '        "{name}" to mapOf({inputs}),',
        (
            'read(run("{signature}", mapOf("{input}" to preprocess(pixels))))',
            'read(run("{signature}", mapOf("{input}" to preprocess(pixels)) + weights))',
        ),
    ),
    "swift": Language(
        "Classifier.swift", {"float32": "Float", "int8": "Int8", "uint8": "UInt8"}, _float,
        lambda items: f"[{', '.join(items)}]",
        "{element}(min(max((normalized / {scale} + {zero}).rounded(), {low}), {high}))",
        "(Float(x) - {zero}) * {scale}", '"{name}": [{shape}]', '    "{name}": [{inputs}],',
        (
            'read(try run("{signature}", ["{input}": preprocess(pixels)]))',
            'read(try run("{signature}", weights.merging(["{input}": preprocess(pixels)]) {{ $1 }}))',
        ),
    ),
    "cpp": Language(
        "classifier.h", {"float32": "float", "int8": "int8_t", "uint8": "uint8_t"}, lambda x: f"{_float(x)}f",
        lambda items: f"{{{', '.join(items)}}}",
        "static_cast<Element>(std::clamp(std::round(normalized / {scale} + {zero}), {low}.0f, {high}.0f))",
        "(x - {zero}) * {scale}", '{{"{name}", {{{shape}}}}}',
        '      {{"{name}", {{{inputs}}}}},',
        (
            'Read(Run("{signature}", {{{{"{input}", Preprocess(pixels)}}}}))',
            'weights["{input}"] = Preprocess(pixels); Read(Run("{signature}", weights))',
        ),
    ),
}  # fmt: skip


def client_code(report: Report | TrainableReport, language: str) -> str:
    """The code by which an app runs an exported file: it loads it, takes pixels in, and reads labels.

    The text has the names, shapes, scales, ranges and labels of the file's own report. It is a class, or in
    JavaScript a module, with three functions: `preprocess` makes the model's input of pixels, `run` runs a
    signature on arrays by name, and `read` gives the label with the highest score. Of a file that trains
    `run` takes `train` as well, with weights and slots among the arrays.

    Args:
        report: What `to_tflite` or `to_trainable_tflite` returned, for a model with one input, and one output
            of a score for each class.
        language: "kotlin" (LiteRT's CompiledModel), "swift" (TensorFlowLiteSwift), "cpp" (LiteRT's C API) or
            "javascript" (LiteRT.js).

    Raises:
        TypeError: `report` is no report.
        ValueError: There is no such language, or the code could not feed such a file; the message says why.

    Example:
        ```python
        report = kerasft.export.to_tflite(model, "model.tflite", labels=names, holdout=test)
        Path("Classifier.kt").write_text(kerasft.export.client_code(report, "kotlin"))
        ```

    References:
        https://ai.google.dev/edge/litert
    """
    if not isinstance(report, Report | TrainableReport):
        raise TypeError(
            "client_code takes what to_tflite or to_trainable_tflite returns; received "
            f"{type(report).__name__}."
        )
    if language not in LANGUAGES:
        raise ValueError(f"language is one of {', '.join(LANGUAGES)}; received {language!r}.")
    way = LANGUAGES[language]
    source, scores = _edges(report)
    dtype = _dtype(report, way, language)
    fields = {
        **_numbers(report, way, source, scores, dtype),
        **_signatures(report, way),
        "file": Path(report.path).name,
        "precision": report.precision,
        "litertjs": _LITERTJS,
        "output": scores.name,
        "labels": _labels(report, language, scores.shape[1]),
        "element": way.elements[dtype],
        "array": f"{way.elements[dtype]}Array",
        "kind": {"float32": "Float", "int8": "Int8", "uint8": "UInt8"}[dtype],
        "litert_type": {"float32": "kLiteRtElementTypeFloat32", "int8": "kLiteRtElementTypeInt8"}.get(
            dtype, "kLiteRtElementTypeUInt8"
        ),
        "imports": "" if dtype == "float32" else "import kotlin.math.roundToInt\n",
        "pixels": _pixels(report, source),
        "resized": _resized(report),
        "usage": way.usage[isinstance(report, TrainableReport)].format(
            signature=[*report.signatures][-1], input=source.name
        ),
        "units": "pixels of 0 to 255" if _takes_pixels(source) else "values as the model takes them",
    }
    text = (_CODE / way.template).read_text(encoding="utf-8")
    return re.sub("«([a-z_]+)»", lambda match: fields[match[1]], text)


def _edges(report: Report | TrainableReport) -> tuple[TensorInfo, TensorInfo]:
    """The input that is made of pixels, and the scores."""
    first, last = next(iter(report.signatures.values())), [*report.signatures.values()][-1]
    outputs = last.outputs
    if report.text is not None or len(first.inputs) != 1 or len(outputs) != 1:
        what = "token ids" if report.text is not None else f"{len(first.inputs)} inputs"
        raise ValueError(
            f"client_code feeds a model one input and reads one output; {report.path} takes {what} and gives "
            f"{len(outputs)} outputs. Its report has the names and shapes."
        )
    if len(outputs[0].shape) != 2 or outputs[0].shape[1] < 2:
        raise ValueError(
            f"client_code reads a score for each class, of shape (1, classes); the output "
            f"{outputs[0].name!r} of {report.path} has the shape {outputs[0].shape}. End a model of one "
            "probability with both probabilities: keras.layers.Concatenate()([1 - p, p])."
        )
    return first.inputs[0], outputs[0]


def _dtype(report: Report | TrainableReport, way: Language, language: str) -> str:
    """The one dtype of all that the file takes and gives."""
    found = {t.dtype for s in report.signatures.values() for t in (*s.inputs, *s.outputs)}
    if len(found) != 1 or not found <= set(way.elements):
        raise ValueError(
            f"In {language} client_code takes files whose inputs and outputs are all "
            f"{' or all '.join(way.elements)}; those of {report.path} are {', '.join(sorted(found))}. Export "
            'the model with io="float"; at precision="int8" it still computes in integers.'
        )
    return found.pop()


def _takes_pixels(source: TensorInfo) -> bool:
    return len(source.shape) == 4 and source.shape[3] in (1, 3)


def _numbers(
    report: Report | TrainableReport, way: Language, source: TensorInfo, scores: TensorInfo, dtype: str
) -> dict[str, str]:
    """Mean, deviation, and what becomes of an element on its way in and out."""
    found = pixel_normalization(input_range=report.input_range, normalization=report.normalization)
    if not _takes_pixels(source):
        found = report.normalization or (0.0, 1.0)
    if found is None:
        raise ValueError(
            f"The report on {report.path} does not say which values the model takes, so client_code can't "
            "give it pixels. Export it with input_range=(0, 255), or whichever range it was trained on, or "
            "with normalization=(mean, std) in units of 0..255."
        )
    mean, std = (way.items(way.number(float(x)) for x in np.ravel(np.asarray(value))) for value in found)
    if dtype == "float32":
        plain = "Float32Array.from(values, normalized)" if way is LANGUAGES["javascript"] else "normalized"
        same = "it" if way is LANGUAGES["kotlin"] else "x"
        return {"mean": mean, "std": std, "quantized": plain, "dequantized": same}
    low, high = _RANGES[dtype]
    return {
        "mean": mean,
        "std": std,
        "quantized": way.quantized.format(
            element=way.elements[dtype], scale=way.number(source.scale or 1.0), zero=source.zero_point or 0,
            low=low, high=high,
        ),
        "dequantized": way.dequantized.format(
            scale=way.number(scores.scale or 1.0), zero=scores.zero_point or 0
        ),
    }  # fmt: skip


def _signatures(report: Report | TrainableReport, way: Language) -> dict[str, str]:
    """The inputs and the outputs of each signature as literals, a line each."""
    inputs, outputs = [], []
    for name, signature in report.signatures.items():
        shapes = [way.entry.format(name=t.name, shape=", ".join(map(str, t.shape))) for t in signature.inputs]
        line = way.entries.format(name=name, inputs=", ".join(shapes))
        if len(line) > _WIDTH:
            indent = " " * (len(line) - len(line.lstrip()))
            rows = "".join(f"\n{indent}    {shape}," for shape in shapes)
            line = way.entries.format(name=name, inputs=f"{rows}\n{indent}")
        inputs.append(line)
        given = ", ".join(f'"{t.name}"' for t in signature.outputs)
        outputs.append(f'        "{name}" to listOf({given}),')
    return {"inputs": "\n".join(inputs), "outputs": "\n".join(outputs)}


def _labels(report: Report | TrainableReport, language: str, count: int) -> str:
    """The labels as a literal; of a file without, the numbers of the classes."""
    names = check_labels(report.labels or [f"class {i}" for i in range(count)], count)
    listed = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
    if language == "kotlin":  # which fills in what stands after a dollar sign
        return "listOf(" + listed.replace("$", "\\$") + ")"
    return f"{{{listed}}}" if language == "cpp" else f"[{listed}]"


def _pixels(report: Report | TrainableReport, source: TensorInfo) -> str:
    """What `preprocess` takes, in a line."""
    if not _takes_pixels(source):
        return f"Values of the shape {list(source.shape[1:])}, row by row, as the model takes them."
    _, height, width, channels = source.shape
    size = f"{width} x {height} {'RGB' if channels == 3 else 'grey'} pixels of 0 to 255, row by row"
    return f"{size}, as the model takes them."


def _resized(report: Report | TrainableReport) -> str:
    """How a picture becomes pixels, as a line of comment, if the report has a rule that says it."""
    rule = report.pixels or {}
    if rule.get("resize") not in _RESIZED:
        return ""
    background = rule.get("background", "white")
    return f"// Each pixel is made {_RESIZED[rule['resize']]}; transparent parts are {background}.\n"
