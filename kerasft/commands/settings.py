"""What the commands that train need beside their data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasft.data import ImageData
from kerasft.unfreezing import Recipe


@dataclass(frozen=True)
class Settings:
    """What a job needs beside its data.

    Attributes:
        handle: The backbone: what `kerasft.hub.load_backbone` takes.
        out: The folder that is made.
        image_size: Side of the square images in pixels.
        input_range: Range of pixel values that the backbone expects; images are scaled from 0..255 to it
            inside the model.
        epochs: Epochs in each phase: the head, then equal parts of the backbone from its upper end down.
        learning_rate: Base learning rate of AdamW; the last phase has a third of it.
        decay: Layer-wise learning-rate decay from one stage to the one below it.
        batch_norm: As in `load_backbone`.
        precisions: What to export, each to a file of its own.
        overwrite: Whether `out` may be replaced, and an unfinished run of it discarded.
        resume: Whether to go on with an unfinished run of `out`.
        cache: Whether frozen work is recorded and done once (`kerasft.PrefixCache`).
        seed: For weights and shuffling.
        trust: As in `load_backbone`.
    """

    handle: str
    out: Path
    image_size: int = 224
    input_range: tuple[float, float] = (0.0, 1.0)
    epochs: tuple[int, ...] = (3, 3, 4, 4)
    learning_rate: float = 1e-3
    decay: float = 0.8
    batch_norm: str = "inference"
    precisions: tuple[str, ...] = ("float32", "float16")
    overwrite: bool = False
    resume: bool = False
    cache: bool = True
    seed: int = 0
    trust: bool = False


def identity_of(settings: Any, data: ImageData) -> dict[str, Any]:
    """What a run that is resumed must have in common with the one that was killed."""
    said = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ("out", "overwrite", "resume")}
    sizes = {"train": data.train_size, "validation": data.validation_size, "test": data.test_size}
    return {
        **said,
        "data": data.name,
        "classes": data.class_names,
        "images": sizes,
        "batches": len(data.train),
    }


TUNERS = ("bayesian", "random", "grid", "hyperband")


@dataclass(frozen=True)
class SearchSettings:
    """What a search needs beside its data.

    Attributes:
        handle: The backbone: what `kerasft.hub.load_backbone` takes.
        out: The folder that is made.
        image_size: Side of the square images in pixels.
        input_range: Range of pixel values that the backbone expects.
        tuner: Which of keras-tuner's: "bayesian", "random", "grid" or "hyperband".
        trials: How many trials at the most; Hyperband has its own number.
        epochs: Of a trial; for Hyperband the most.
        depths: Freeze depths or names of stages to choose from; None: all.
        recipes: Names of recipes to choose from; None: all.
        learning_rate: Range of base learning rates.
        precision: Of the .tflite file whose accuracy is the score; None: the score is Keras's own.
        max_bytes: The largest such file; None for any.
        max_ms: Its longest latency here, in milliseconds; None for any.
        budget: Seconds behind which no further trial begins; None for no limit.
        batch_norm: As in `load_backbone`.
        overwrite: Whether `out` may be replaced, and an unfinished search of it discarded.
        resume: Whether to go on with an unfinished search of `out`.
        seed: For weights, order and the tuner.
        trust: As in `load_backbone`.
    """

    handle: str
    out: Path
    image_size: int = 224
    input_range: tuple[float, float] = (0.0, 1.0)
    tuner: str = "bayesian"
    trials: int = 20
    epochs: int = 5
    depths: tuple[int | str, ...] | None = None
    recipes: tuple[Recipe, ...] | None = None
    learning_rate: tuple[float, float] = (1e-4, 1e-2)
    precision: str | None = None
    max_bytes: int | None = None
    max_ms: float | None = None
    budget: float | None = None
    batch_norm: str = "inference"
    overwrite: bool = False
    resume: bool = False
    seed: int = 0
    trust: bool = False
