"""What `kerasft export` gives to the exporters: labels, pixels and images, of the run and of --data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasft.commands.terminal import increasing, load_images, numbers

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from kerasft.data import ImageData, PixelRule, Split

RULE = "pixels.json"
PIXELS = (0.0, 255.0)  # what the models of finetune and search take

Range = tuple[Any, Any]  # two ends, or mean and deviation, each a number or one for each channel


@dataclass(frozen=True)
class Source:
    """The options that name images.

    Attributes:
        data: As for `finetune`.
        options: Options of `load_images` that hold for any image size.
        resize, background: As for `finetune`; None for those of the model's run.
    """

    data: str
    options: dict[str, Any]
    resize: str | None
    background: str | None

    def load(
        self, side: int, rule: PixelRule, split: Split | None, say: Callable[[str], object]
    ) -> ImageData:
        """Load the images for a model that takes them at a size."""
        return load_images(
            self.data,
            say,
            image_size=side,
            split=split,
            resize=self.resize or rule.resize,
            background=self.background or rule.background,
            **self.options,
        )


def from_the_run(path: Path, model: keras.Model) -> dict[str, Any]:
    """What the files beside a model say about its input and its labels, as options of the exporters."""
    noted = rule_beside(path)
    if noted is None:
        return {}
    found: dict[str, Any] = {"pixels": noted.to_dict(), "input_range": implied(model) or PIXELS}
    if (beside := path.with_name("labels.txt")).exists():
        found["labels"] = read_labels(beside)
    return found


def from_data(
    path: Path,
    model: keras.Model,
    source: Source,
    input_range: str | None,
    normalization: Range | None,
    say: Callable[[str], object],
) -> tuple[dict[str, Any], Range]:
    """Images to calibrate on and to measure on, in the range that a model takes.

    Returns:
        Options of the exporters, and what black and white become.

    Raises:
        ValueError: The images are of other classes than the model's, or their range is not known.
    """
    from kerasft.data import PixelRule

    split, noted = split_beside(path), rule_beside(path)
    if split is None:
        say(
            f"Beside {path} is no split.json, which says what images it was trained on: where these are "
            "among the test images, the accuracy is too good."
        )
    images = source.load(side_of(model), noted or PixelRule(), split, say)
    _check_classes(path, images.class_names)
    if normalization is not None:
        taken = _normalized_range(model, normalization, images, say)
    else:
        taken = _taken(model, input_range, images, path.with_name(RULE) if noted else None, say)
    found = {
        "labels": list(images.class_names),
        "holdout": scaled(images.test, taken),
        "representative_data": scaled(images.train, taken),
        "pixels": images.pixels.to_dict(),
    }
    return found | ({} if normalization is not None else {"input_range": taken}), taken


def split_beside(model: Path) -> Split | None:
    """The split of the run that has made a model."""
    from kerasft.data import Split

    path = model.with_name("split.json")
    return Split.from_json(path) if path.exists() else None


def rule_beside(model: Path) -> PixelRule | None:
    """The rule by which the run that has made a model read its images; None if it was no run of kerasft."""
    from kerasft.data import PixelRule

    path = model.with_name(RULE)
    return PixelRule.from_json(path) if path.exists() else None


def read_labels(path: Path) -> list[str]:
    """The labels of a text file, one a line; an empty last line is the end of the one before it."""
    from kerasft.export import check_labels

    names = path.read_text(encoding="utf-8-sig").split("\n")
    names = names[:-1] if names[-1] == "" else names
    try:
        return list(check_labels(names, None))
    except ValueError as error:
        raise ValueError(f"{path} (its first line is label 0): {error}") from None


def read_normalization(text: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels of 0 to 255: two numbers, or means and then deviations.

    Raises:
        ValueError: They are something else.
    """
    found = numbers(text, float, "--normalization")
    half = len(found) // 2
    if len(found) not in (2, 6):
        raise ValueError(
            "--normalization takes MEAN,STD, or three means and then three standard deviations, all in units "
            f"of pixels of 0 to 255; received {text!r}."
        )
    mean, std = found[:half], found[half:]
    if not np.all(np.isfinite(found)) or min(std) <= 0:
        raise ValueError(f"--normalization takes finite numbers, the deviations above 0; received {text!r}.")
    return mean, std


def side_of(model: keras.Model) -> int:
    """The side of the images that a model takes."""
    shape = tuple(model.inputs[0].shape)
    if len(model.inputs) != 1 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not shape[1]:
        raise ValueError(
            "--data gives square images in colour; the model takes "
            f"{[tuple(t.shape) for t in model.inputs]}. Use kerasft.export.to_tflite in Python, with "
            "data of your own."
        )
    return int(shape[1])


def scaled(images: tf.data.Dataset, taken: Range) -> tf.data.Dataset:
    """Images of 0 to 255 in the range that a model takes."""
    if taken == PIXELS:
        return images
    low, high = (np.asarray(end, "float32") for end in taken)
    return images.map(lambda pixels, label: (low + pixels * ((high - low) / 255), label))


def implied(model: keras.Model) -> tuple[float, float] | None:
    """The range that a model's own rescaling decides, if it has any."""
    from kerasft.export.model import implied_range

    try:
        return implied_range(model)
    except ValueError as error:
        raise ValueError(f"{error} Pass --input-range LOW,HIGH.") from None


def _check_classes(model: Path, names: tuple[str, ...]) -> None:
    """Raise ValueError if the images have other classes than those that the model's run has noted."""
    path = model.with_name("labels.txt")
    known = read_labels(path) if path.exists() else list(names)
    if known != list(names):
        raise ValueError(
            f"{path} says that the model's classes are {known}, in this order; the images of --data have "
            f"{list(names)}. Give images of the same classes, or move labels.txt away if it is of another "
            "model."
        )


def _taken(
    model: keras.Model, given: str | None, images: ImageData, rule: Path | None, say: Callable[[str], object]
) -> Range:
    """The range of pixels that a model takes: as given, by its own rescaling, as its run did, or measured.

    `rule` is the file in which the model's run has noted its rule for pixels, if it was a run of kerasft.
    """
    from kerasft.commands.input_range import model_range

    if given is not None:
        stated = increasing(given, "--input-range")
        return model_range(model, images, say, stated) if len(model.outputs) == 1 else stated
    if (found := implied(model)) is not None:
        return found
    return model_range(model, images, say, *(() if rule is None else (PIXELS, str(rule))))


def _normalized_range(
    model: keras.Model,
    normalization: Range,
    images: ImageData,
    say: Callable[[str], object],
) -> Range:
    """What black and white become, by channel, unless a usual range fits the model far better."""
    from kerasft.commands.input_range import model_range

    mean, std = (np.atleast_1d(values) for values in normalization)
    stated = tuple((-mean / std).tolist()), tuple(((255 - mean) / std).tolist())
    if len(model.outputs) == 1:
        model_range(model, images, say, stated, "--normalization")
    return stated
