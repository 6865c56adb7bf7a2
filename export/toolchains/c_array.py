"""An exported file as an array in C++, with what firmware has to know to use it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..clients import pixel_normalization
from ..files import check_target, replacing
from ..report import Report, TensorInfo
from ..tflite_file import edge_order
from .micro import MicroRun

_ALIGNMENT = 16  # bytes; TFLite Micro reads tensors of a file where they lie
_IN_A_LINE = 16
_HEX = [f"0x{value:02x}," for value in range(256)]


def to_c_array(
    report: Report,
    folder: str | os.PathLike[str],
    *,
    micro: MicroRun | None = None,
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write an exported file as a pair of a `.cc` and a `.h`, to be compiled into firmware.

    Both are named after the file: `digits.tflite` becomes `digits.cc` and `digits.h`, which is C as well as
    C++. The header declares the array `digits_model` (aligned to 16 bytes) and `digits_model_size`,
    `digits_labels` and `DIGITS_LABEL_COUNT`, size, scale and zero point of each input and output by its place
    in the interpreter, and the arena's size. Comments say what each input and output is, what a pixel
    becomes, which operations a resolver needs, and where the file comes from.

    Args:
        report: What `to_tflite` returned.
        folder: Where to write; made if it is missing.
        micro: What `run_on_micro` returned for this report: the arena's size is measured there. Without it
            `DIGITS_ARENA_BYTES` is not defined, and what needs it does not compile.
        overwrite: Replace existing files.

    Returns:
        The paths of the `.cc` and of the `.h`.

    Raises:
        TypeError: `report` is no Report, or `micro` no MicroRun.
        ValueError: The file takes any batch size, which firmware has no memory for.
        FileNotFoundError, FileExistsError, OSError: The files can't be written.
        ExportError: The file was changed since its export.

    Example:
        ```python
        run = kerasft.export.run_on_micro(report, test_images[:8])
        source, header = kerasft.export.to_c_array(report, "firmware", micro=run)
        ```

    References:
        https://ai.google.dev/edge/litert/microcontrollers/build_convert
    """
    if not isinstance(report, Report):
        raise TypeError(f"to_c_array takes the Report of to_tflite; received {type(report).__name__}.")
    if micro is not None and not isinstance(micro, MicroRun):
        raise TypeError(f"micro is what run_on_micro returned; received {type(micro).__name__}.")
    tensors = (*report.inputs, *report.outputs)
    if sizes := {t.name: t.shape for t in tensors if -1 in t.shape}:
        raise ValueError(
            f"Firmware has memory for one size, and the file's are open: {sizes}. Export it with batch=1 and "
            "a fixed input size."
        )
    content = report.read_file()
    target = Path(folder)
    source, header = c_array_paths(report.path, target)
    name = source.stem
    if not target.exists():
        check_target(target, overwrite=False)
    elif not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; the .cc and the .h go into a folder.")
    for path in (source, header) if target.exists() else ():
        check_target(path, overwrite=overwrite)
    texts = {
        source: "\n".join(_source(name, content, report)) + "\n",
        header: "\n".join(_header(name, content, report, micro)) + "\n",
    }
    target.mkdir(exist_ok=True)
    for path, text in texts.items():
        with replacing(path, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    return source, header


def c_array_paths(path: str | os.PathLike[str], folder: Path) -> tuple[Path, Path]:
    """Where the `.cc` and the `.h` of an exported file go in a folder."""
    name = _identifier(Path(path).stem)
    return folder / f"{name}.cc", folder / f"{name}.h"


def _header(name: str, content: bytes, report: Report, micro: MicroRun | None) -> Iterator[str]:
    upper = name.upper()
    yield from _origin(report)
    yield f"#ifndef {upper}_H_"
    yield f"#define {upper}_H_"
    yield ""
    yield "#include <stddef.h>"
    yield ""
    yield "#ifdef __cplusplus"
    yield 'extern "C" {'
    yield "#endif"
    yield ""
    yield f"// The .tflite file, aligned to {_ALIGNMENT} bytes, for tflite::GetModel({name}_model)."
    yield f"extern const unsigned char {name}_model[];"
    yield f"extern const size_t {name}_model_size;  // {len(content):,} bytes"
    yield ""
    yield "// Its operations, for a resolver: " + ", ".join(report.operations)
    yield f"#define {upper}_OPERATION_COUNT {len(report.operations)}"
    yield ""
    yield from _arena(upper, micro)
    yield ""
    order = edge_order(content)
    for kind, names, infos in (("INPUT", order[0], report.inputs), ("OUTPUT", order[1], report.outputs)):
        by_name = {info.name: info for info in infos}
        yield f"#define {upper}_{kind}_COUNT {len(names)}"
        for place, tensor in enumerate(names):
            yield from _tensor(f"{upper}_{kind}_{place}", kind.lower(), place, by_name[tensor])
        yield ""
    yield from _pixel_rule(report)
    labels = report.labels or ()
    yield "// Names of the classes in the order of the output, in UTF-8."
    yield f"#define {upper}_LABEL_COUNT {len(labels)}"
    if labels:
        yield f"extern const char* const {name}_labels[{upper}_LABEL_COUNT];"
    yield ""
    yield "#ifdef __cplusplus"
    yield "}"
    yield "#endif"
    yield ""
    yield f"#endif  // {upper}_H_"


def _source(name: str, content: bytes, report: Report) -> Iterator[str]:
    yield from _origin(report)
    yield f'#include "{name}.h"'
    yield ""
    yield f"alignas({_ALIGNMENT}) const unsigned char {name}_model[] = {{"
    for begin in range(0, len(content), _IN_A_LINE):
        yield "    " + " ".join(map(_HEX.__getitem__, content[begin : begin + _IN_A_LINE]))
    yield "};"
    yield ""
    yield f"const size_t {name}_model_size = sizeof({name}_model);"
    if report.labels:
        yield ""
        yield f"const char* const {name}_labels[{name.upper()}_LABEL_COUNT] = {{"
        yield from (f"    {_literal(label)}," for label in report.labels)
        yield "};"


def _origin(report: Report) -> Iterator[str]:
    io = "" if report.io == "float" else f" with {report.io} in and out"
    yield f"// {_literal(Path(report.path).name)}: {report.precision}{io}, by kerasft {version('kerasft')}."
    yield f"// sha256 of the .tflite file: {report.sha256}"
    yield ""


def _arena(upper: str, micro: MicroRun | None) -> Iterator[str]:
    if micro is None:
        yield "// The arena's size was not measured. kerasft.export.run_on_micro does, with kerasft[micro]."
        return
    yield "// The smallest arena in which the file loads and runs, in bytes, measured in TFLite Micro"
    yield f"// {_literal(micro.version)} with its reference kernels, on a machine with pointers of"
    yield f"// {micro.pointer_bits} bits. The interpreter's own part of it is smaller with 32 bits; kernels"
    yield "// that were written for a device, such as CMSIS-NN's, may ask for memory besides."
    yield f"#define {upper}_ARENA_BYTES {micro.arena_bytes}"


def _tensor(prefix: str, kind: str, place: int, info: TensorInfo) -> Iterator[str]:
    shape = " × ".join(map(str, info.shape))
    yield f"// interpreter.{kind}({place}), {_literal(info.name)}: {info.dtype}, {shape}"
    yield f"#define {prefix}_BYTES {prod(info.shape) * np.dtype(info.dtype).itemsize}"
    if info.scale is not None:
        yield f"// value = (integer - {prefix}_ZERO_POINT) * {prefix}_SCALE"
        yield f"#define {prefix}_SCALE {_number(info.scale)}f"
        yield f"#define {prefix}_ZERO_POINT ({info.zero_point})"


def _pixel_rule(report: Report) -> Iterator[str]:
    """What firmware does to a picture, in comments."""
    shape = report.inputs[0].shape
    if len(report.inputs) != 1 or len(shape) != 4 or shape[3] not in (1, 3):
        if report.text is not None:
            yield "// The input is token ids; how a text becomes these, the report says (text)."
            yield ""
        return
    found = pixel_normalization(input_range=report.input_range, normalization=report.normalization)
    pixels = report.pixels or {}
    colour = "red, green and blue" if shape[3] == 3 else "grey, 0.299 R + 0.587 G + 0.114 B"
    yield f"// A picture is stretched to {shape[1]} × {shape[2]} (height × width), in rows from the top,"
    yield f"// {colour}."
    for key, value in pixels.items():
        yield f"// In training: {_literal(key)} = {_literal(value)}"
    if found is None:
        yield "// The report does not say which values black and white have."
    else:
        yield from _formula(report.inputs[0], *found)
    yield ""


def _formula(info: TensorInfo, mean: Any, std: Any) -> Iterator[str]:
    mean, std = (np.atleast_1d(np.asarray(v, "float64")) for v in (mean, std))
    mean, std = np.broadcast_arrays(mean, std)
    step, zero = (info.scale, info.zero_point) if info.scale is not None else (1.0, 0)
    factor, offset = 1 / (std * step), zero - mean / (std * step)
    names = ("",) if len(mean) == 1 else (" of red", " of green", " of blue")[: len(mean)]
    for name, a, b in zip(names, factor, offset, strict=True):
        sign = "-" if b < 0 else "+"
        value = f"{_number(a)} * pixel {sign} {_number(abs(b))}"
        if info.scale is not None:
            limits = np.iinfo(info.dtype)
            value = f"round({value}), held within {limits.min} to {limits.max}"
        yield f"// A pixel{name} of 0 to 255 goes in as {value}"


def _identifier(stem: str) -> str:
    """A file's name as the beginning of names in C."""
    name = re.sub(r"\W", "_", stem, flags=re.ASCII).strip("_") or "model"
    return f"model_{name}" if name[0].isdigit() else name


def _literal(text: str) -> str:
    """A string literal of C, in ASCII: other bytes of UTF-8 in octal, which has three digits at most.

    It also is a part of a comment, where a backslash at the end of a line would join the next one.
    """
    plain = {b: chr(b) for b in range(32, 127) if chr(b) not in '"\\?'}
    return f'"{"".join(plain.get(b, f"{chr(92)}{b:03o}") for b in text.encode())}"'


def _number(value: float) -> str:
    text = np.format_float_positional(np.float32(value), trim="0")
    return text if 1e-4 <= abs(value) < 1e7 or value == 0 else f"{np.float32(value):.9e}"
