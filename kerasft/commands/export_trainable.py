"""`kerasft export --trainable`: a file whose last layers train on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasft.commands.export_data import read_labels
from kerasft.commands.terminal import words

if TYPE_CHECKING:
    import keras

OPTIMIZERS = ("adam", "momentum", "nesterov", "sgd")
_MOMENTUM = 0.9
# Options of --trainable, and those that say nothing about such a file; with what they are where left out.
_OWN = ("depth", "optimizer", "learning_rate", "loss", "new_classes", "train_batch")
_IN_VAIN = (
    ("batch", "1"), ("metadata", False), ("score_calibration", None), ("calibration_samples", None),
    ("target", None), ("keep_compiled", False),
)  # fmt: skip
_OF_TRAINABLE = (  # options of `to_tflite` that `to_trainable_tflite` takes as well
    "holdout", "representative_data", "labels", "input_range", "normalization", "pixels", "strict",
    "tolerance", "max_drop", "overwrite",
)  # fmt: skip


def check_trainable(out: Path, given: Mapping[str, Any]) -> None:
    """Raise unless the options for a file that trains go with each other, and with --trainable.

    Args:
        out: The file that is to be written.
        given: What was typed, by the option's name.

    Raises:
        ValueError: They do not; the message names the option.
    """
    if not given["trainable"]:
        if named := [_option(name) for name in _OWN if given[name] is not None]:
            raise ValueError(
                f"{', '.join(named)} is about a file that trains on the device: pass --trainable as well."
            )
        return
    if out.suffix != ".tflite" or given["precision"] == "all":
        raise ValueError(
            "--trainable writes one .tflite file: it goes with one precision, and an --out that ends in "
            f".tflite; received {out}."
        )
    in_vain = [_option(name) for name, default in _IN_VAIN if given[name] not in (default, [])]
    in_vain += ["--io"] if given["io"] != "float" else []
    if in_vain:
        raise ValueError(
            f"{', '.join(in_vain)} says nothing about a file that trains, which takes and gives floats and "
            "has four signatures: leave it out."
        )
    if (name := given["optimizer"]) not in (None, *OPTIMIZERS):
        raise ValueError(f"--optimizer is one of {', '.join(OPTIMIZERS)}; received {name!r}.")
    if (rate := given["learning_rate"]) is not None and not (0 < rate < math.inf):
        raise ValueError(f"--learning-rate is a number above 0; received {rate:g}.")
    read_new_classes(given["new_classes"])


def read_new_classes(text: str | None) -> int | list[str] | None:
    """New classes as they were typed: their number, their names, or a text file with one a line.

    Raises:
        ValueError: They are none.
        FileNotFoundError: There is no such file.
    """
    from kerasft.export import check_labels

    if text is None:
        return None
    if text.endswith(".txt"):
        return read_labels(Path(text))
    try:
        count = int(text)
    except ValueError:
        names = words(text)
        if not names:
            raise ValueError(f"--new-classes is a number or names; received {text!r}.") from None
        return list(check_labels(names, None))
    if count < 1:
        raise ValueError(f"--new-classes is 1 or more, or names; received {text!r}.")
    return count


def trainable_options(given: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `to_trainable_tflite`.

    Args:
        given: What was typed, by the option's name.
        choice: The options of `to_tflite`.
    """
    taken = {name: choice[name] for name in _OF_TRAINABLE if name in choice}
    return {
        **taken,
        "depth": given["depth"] or "head",
        "precision": given["precision"] or "float32",
        "optimizer": _optimizer(given["optimizer"] or "adam", given["learning_rate"]),
        "loss": given["loss"],
        "new_classes": read_new_classes(given["new_classes"]),
        "batch": given["train_batch"],
        "seed": given["seed"],
    }


def _optimizer(name: str, rate: float | None) -> keras.optimizers.Optimizer:
    """An optimizer of Keras, by a name of OPTIMIZERS."""
    import keras

    options: dict[str, Any] = {} if rate is None else {"learning_rate": rate}
    if name == "adam":
        return keras.optimizers.Adam(**options)
    if name != "sgd":
        options |= {"momentum": _MOMENTUM, "nesterov": name == "nesterov"}
    return keras.optimizers.SGD(**options)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
