"""The options of `kerasft export`, held against each other before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.commands.export_data import RULE, read_labels, read_normalization
from kerasft.commands.terminal import increasing
from kerasft.files import parse_json

ALL = "all"
_IN_FILES = (  # options of the exporters of .tflite files; what they are where they are left out
    ("batch", "1"), ("normalization", None), ("tolerance", None), ("score_calibration", None),
    ("strict", True), ("calibration_samples", None), ("image_size", None), ("pack", None), ("web", None),
    ("max_drop", None),
)  # fmt: skip
_OF_ALL = ("max_bytes", "max_ms", "prefer")


def exporter_options(model: Path, out: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `to_tflite` or `ladder`, out of what was typed.

    Args:
        model: The .keras file.
        out: Where to write.
        given: What was typed, by the option's name.

    Returns:
        Options that neither need the model nor data; none for a SavedModel.

    Raises:
        ValueError, OSError: Options contradict each other, or one has no meaning; the message names it.
    """
    _check_places(model, out, given)
    precision = given["precision"]
    if precision is None and out.suffix != ".tflite":
        return {}
    options: dict[str, Any] = {"metadata": given["metadata"], "strict": given["strict"]}
    options["batch"] = _batch(given["batch"])
    if (normalization := given["normalization"]) is not None:
        options["normalization"] = _normalization(model, normalization, given["input_range"])
    elif given["input_range"] is not None:
        options["input_range"] = increasing(given["input_range"], "--input-range")
    if given["labels"] is not None:
        options["labels"] = read_labels(given["labels"])
    for name, most in (("tolerance", math.inf), ("max_drop", 1.0)):
        if (limit := given[name]) is not None:
            if not (0 <= limit <= most and math.isfinite(limit)):
                words = "a share of the images, in 0 to 1" if name == "max_drop" else "a number of 0 or more"
                raise ValueError(f"{_option(name)} is {words}; received {limit:g}.")
            options[name] = limit
    if (path := given["score_calibration"]) is not None:
        if not given["metadata"]:
            raise ValueError("--score-calibration is part of the metadata: pass --metadata as well.")
        options["score_calibration"] = read_score_calibration(path)
    if (count := given["calibration_samples"]) is not None:
        options["calibration_samples"] = count
    _check_precision(given)
    return options


def read_score_calibration(path: Path) -> Any:
    """The ScoreCalibration of a JSON file, with its fields as keys.

    Raises:
        ValueError: The file holds something else.
    """
    from kerasft.export import ScoreCalibration

    fields = ("parameters", "transformation", "default_score")
    content = parse_json(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict) or "parameters" not in content or set(content) - set(fields):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path} has the keys {', '.join(fields)} of kerasft.export.ScoreCalibration, such as "
            f'{{"parameters": [[1, 2.5, -0.5], null]}}: scale, slope and offset of each label; found {found}.'
        )
    rows = content["parameters"]
    if not isinstance(rows, list) or not all(row is None or _are_numbers(row) for row in rows):
        raise ValueError(
            f"The parameters in {path} are a list with [scale, slope, offset] or [scale, slope, offset, "
            f"min_score], or null, for each label; found {rows!r:.200}."
        )
    if not _are_numbers([content.get("default_score", 0.0)]):
        raise ValueError(f"default_score in {path} is a number; found {content['default_score']!r}.")
    try:
        return ScoreCalibration(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_places(model: Path, out: Path, given: Mapping[str, Any]) -> None:
    """Raise unless the model is there, and what is written goes with the name of what is to be written."""
    precision, is_file = given["precision"], out.suffix == ".tflite"
    if model.is_dir():
        raise IsADirectoryError(
            f"{model} is a folder. Give a .keras file, such as model.keras in the folder of a run."
        )
    if not model.is_file():
        raise FileNotFoundError(f"There is no file {model}.")
    if precision == ALL and is_file:
        raise ValueError(f"--precision all writes several files: --out is a folder, not {out}.")
    if not is_file and precision not in (None, ALL):
        raise ValueError(f"--precision {precision} goes with an --out that ends in .tflite; received {out}.")
    if precision != ALL and any(given[name] is not None for name in _OF_ALL):
        raise ValueError("--max-bytes, --max-ms and --prefer choose among the files of --precision all.")
    if not is_file and any(given[name] is not None for name in ("pack", "web")):
        raise ValueError("--pack and --web go with an --out that ends in .tflite.")
    in_vain = [_option(name) for name, default in _IN_FILES if given[name] != default]
    if precision is None and not is_file and in_vain:
        raise ValueError(
            f"--out {out} without --precision is a SavedModel, about which {', '.join(in_vain)} says "
            "nothing. Give an --out that ends in .tflite, or leave it out."
        )


def _check_precision(given: Mapping[str, Any]) -> None:
    """Raise unless the precision exists, and goes with the other options."""
    from kerasft.export.precisions import check_choice

    precision = given["precision"] or "float32"
    if given["image_size"] is not None and given["data"] is None:
        raise ValueError(
            "--image-size needs --data: what a model is worth at another size than it was trained at has to "
            "be measured."
        )
    if precision == ALL:
        if given["tolerance"] is not None:
            raise ValueError("--tolerance is of one precision; with --precision all each has its own.")
        return
    check_choice(precision, given["io"], given["data"])
    of_int8 = [_option(n) for n, d in (("strict", True), ("calibration_samples", None)) if given[n] != d]
    if precision != "int8" and of_int8:
        raise ValueError(f"{', '.join(of_int8)} goes with --precision int8 or all; received {precision}.")


def _batch(text: str) -> int | None:
    if text not in ("1", "any"):
        raise ValueError(
            f"--batch is 1, or any for a file that takes any number of samples; received {text!r}."
        )
    return 1 if text == "1" else None


def _normalization(
    model: Path, text: str, input_range: str | None
) -> tuple[float | list[float], float | list[float]]:
    """The normalization that the client applies, where nothing says otherwise."""
    mean, std = read_normalization(text)
    if input_range is not None:
        raise ValueError(
            "--normalization and --input-range both say what becomes of pixels: give one of them."
        )
    if (rule := model.with_name(RULE)).exists():
        raise ValueError(
            f"{rule} says that the model takes pixels of 0 to 255 as they are, so --normalization would be "
            "applied twice. Leave it out, or move the file away if it is of another model."
        )
    return (mean[0], std[0]) if len(mean) == 1 else (mean, std)


def _option(name: str) -> str:
    return "--no-strict" if name == "strict" else f"--{name.replace('_', '-')}"


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
