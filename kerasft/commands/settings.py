"""The settings of the commands that train, beside their data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from kerasft.commands.class_weights import ClassWeights
from kerasft.data import ImageData, TextData
from kerasft.freezing import BatchNormPolicy
from kerasft.unfreezing import Recipe, UnfreezingSchedule

TUNERS = ("bayesian", "random", "grid", "hyperband")


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that fine-tuning and a search share.

    Attributes:
        handle: The backbone: what `kerasft.hub.load_backbone` takes.
        out: The folder that is made.
        image_size: Side of the square images in pixels.
        input_range: Range of pixel values that the backbone expects; images are scaled from 0..255 to it
            inside the model. None takes the one that is measured to fit.
        batch_norm: As in `load_backbone`.
        overwrite: Whether `out` may be replaced, and an unfinished run of it discarded.
        resume: Whether to go on with an unfinished run of `out`.
        seed: For weights, shuffling and the tuner.
        trust: As in `load_backbone`.
        class_weights: "balanced", or a weight for each label; None: every sample counts the same.
    """

    handle: str
    out: Path
    image_size: int = 224
    input_range: tuple[float, float] | None = None
    batch_norm: BatchNormPolicy = "inference"
    overwrite: bool = False
    resume: bool = False
    seed: int = 0
    trust: bool = False
    class_weights: ClassWeights | None = None

    free: ClassVar[tuple[str, ...]] = ("out", "overwrite", "resume")

    def identity(self, data: ImageData | TextData) -> dict[str, Any]:
        """The identity of a run with these settings: one that is resumed must have the same."""
        return {
            **{name: value for name, value in dataclasses.asdict(self).items() if name not in self.free},
            "data": data.name,
            "classes": data.class_names,
            "batches": len(data.train),
            **self.identity_of_samples(data),
        }

    def defaults(self) -> dict[str, Any]:
        """What a run had whose identity does not name a setting: an earlier version lacked it."""
        given = [f for f in dataclasses.fields(self) if f.default is not dataclasses.MISSING]
        return {f.name: f.default for f in given if f.name not in self.free}

    def identity_of_samples(self, data: Any) -> dict[str, Any]:
        """What images are, beside their classes."""
        return {"images": _counts(data), "pixels": data.pixels.to_dict()}


def _counts(data: ImageData | TextData) -> dict[str, int]:
    return {"train": data.train_size, "validation": data.validation_size, "test": data.test_size}


@dataclass(frozen=True)
class FinetuneSettings(TrainingSettings):
    """The settings of fine-tuning; the others are those of `TrainingSettings`.

    Attributes:
        epochs: One number: how long the backbone trains (`kerasft.recipes.default`). Several: epochs
            in each phase, the head, then equal parts of the backbone from its upper end down. With a
            schedule: its epochs in all.
        learning_rate: Highest learning rate of AdamW; None for the recipe's, or for that of phases: 1e-3, of
            which the last one has a third.
        decay: Layer-wise learning-rate decay from one stage to the one below it; None for the recipe's, or
            for that of phases, 0.8.
        precisions: The precisions to export, each to a file of its own.
        cache: Whether frozen work is recorded and done once (`kerasft.PrefixCache`).
        schedule: The phases; None makes them of `epochs`.
    """

    epochs: tuple[int, ...] = (12,)
    learning_rate: float | None = None
    decay: float | None = None
    precisions: tuple[str, ...] = ("float32", "float16")
    cache: bool = True
    schedule: UnfreezingSchedule | None = None

    def identity(self, data: ImageData | TextData) -> dict[str, Any]:
        """The identity of fine-tuning: the schedule is a part of it if one is given."""
        whole = super().identity(data)
        given = {} if self.schedule is None else {"schedule": self.schedule.to_dict()}
        return {**{name: value for name, value in whole.items() if name != "schedule"}, **given}


@dataclass(frozen=True)
class TextInputs(TrainingSettings):
    """How texts become an encoder's inputs; the others are those of `TrainingSettings`.

    Attributes:
        length: Tokens of a text.
        vocabulary: A WordPiece vocabulary; None takes the one that lies with the backbone.
        preprocessor: A SavedModel from strings to the backbone's inputs.
    """

    length: int = 128
    vocabulary: str | None = None
    preprocessor: str | None = None

    free: ClassVar[tuple[str, ...]] = (*TrainingSettings.free, "image_size", "input_range")

    def identity_of_samples(self, data: Any) -> dict[str, Any]:
        """What texts are, beside their classes."""
        return {"texts": _counts(data)}


@dataclass(frozen=True)
class TextSettings(TextInputs, FinetuneSettings):
    """The settings of fine-tuning on texts; the others are those of `TextInputs` and `FinetuneSettings`.

    Attributes:
        epochs: One number: how long the backbone trains. Several: epochs of the head, then of phases
            that thaw more of the encoder; the last thaws all of it.
        learning_rate, decay: As in `FinetuneSettings`; in phases 1e-4, for the thawed part, and 0.9.
    """

    epochs: tuple[int, ...] = (4,)


@dataclass(frozen=True)
class SearchSettings(TrainingSettings):
    """The settings of a search; the others are those of `TrainingSettings`.

    One that is resumed may have more trials, more time and no pruning.

    Attributes:
        tuner: Which of keras-tuner's: "bayesian", "random", "grid" or "hyperband".
        trials: How many trials at most; Hyperband has its own number.
        epochs: Epochs of a trial; for Hyperband the most.
        depths: Freeze depths or names of stages to choose from; None for all.
        recipes: Names of recipes to choose from; None for all.
        learning_rate: Range of base learning rates.
        precision: Precision of the .tflite file whose accuracy is the score; None: the score is Keras's own.
        max_bytes: The largest such file; None for any.
        max_ms: Its longest latency here, in milliseconds; None for any.
        budget: Seconds after which no new trial starts; None for no limit.
        prune: Whether trials that are unlikely to become the best are stopped.
    """

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
    prune: bool = True

    free: ClassVar[tuple[str, ...]] = (*TrainingSettings.free, "trials", "budget", "prune")

    def __post_init__(self) -> None:
        if self.tuner not in TUNERS:
            raise ValueError(f"There is no tuner {self.tuner!r}. There are {list(TUNERS)}.")


@dataclass(frozen=True)
class TextSearchSettings(TextInputs, SearchSettings):
    """The settings of a search on texts: those of `TextInputs` and `SearchSettings`."""

    free: ClassVar[tuple[str, ...]] = (*TextInputs.free, *SearchSettings.free)
