"""Images as the data of a job: the classifier that is trained on them, and what is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasft.commands.classifier import build_classifier, load_for
from kerasft.commands.input_range import input_range
from kerasft.commands.settings import FinetuneSettings, TrainingSettings
from kerasft.data import ImageData
from kerasft.export import ExportError, Report, to_tflite
from kerasft.stages import Stages
from kerasft.unfreezing import UnfreezingSchedule, equal_parts


class ImageSamples:
    """Images, and the classifier that is trained on them, for any job.

    Attributes:
        train, validation, test: Batches of (images, labels).
        class_names: Name of each label.
        class_counts: Number of training images of each.
        split: The part of each image.
    """

    def __init__(self, data: ImageData, settings: TrainingSettings) -> None:
        self.data, self._settings = data, settings
        self.train, self.validation, self.test = data.train, data.validation, data.test
        self.class_names, self.split = data.class_names, data.split
        self.class_counts = data.class_counts
        self.notes: Sequence[str] = ()  # what is said of images is said when they are read

    def identity(self) -> dict[str, Any]:
        """What a resumed job has to have in common with the one before."""
        return self._settings.identity(self.data)

    def builder(self, state: Path, say: Callable[..., object]) -> Callable[[], keras.Model]:
        """What builds the classifier, with pixels in the range that its backbone takes."""
        settings, classes = self._settings, len(self.data.class_names)
        loaded = [load_for(settings)]
        stored = state / "input_range.json"
        pixels = input_range(loaded[0], self.data, settings.input_range, stored, say)

        def build() -> keras.Model:
            backbone = loaded.pop() if loaded else load_for(settings)
            return build_classifier(backbone, classes, settings.image_size, pixels)

        return build

    def save(self, folder: Path) -> None:
        """Write how a picture becomes pixels."""
        self.data.pixels.to_json(folder / "pixels.json")


class ImageTask(ImageSamples):
    """Images as the task of fine-tuning.

    Attributes:
        limits: The lowest and the highest value of a pixel.
        phase_rate, phase_decay: The learning rate of phases and its decay, where none are given.
    """

    limits: tuple[float, float] | None = (0.0, 255.0)
    phase_rate: float = 1e-3
    phase_decay: float = 0.8

    def __init__(self, data: ImageData, settings: FinetuneSettings) -> None:
        super().__init__(data, settings)
        self.settings = settings

    def schedule(self, stages: Stages) -> UnfreezingSchedule:
        given = self.settings.learning_rate
        rate = self.phase_rate if given is None else given
        return UnfreezingSchedule(equal_parts(stages, self.settings.epochs, rate / 3))

    def export(
        self, model: keras.Model, folder: Path, advance: Callable[[], None]
    ) -> tuple[dict[str, Report], dict[str, str]]:
        return _export(model, self.data, self.settings.precisions, folder, advance)

    def usage(self, out: Path, report: Report) -> str:
        image = report.inputs[0]
        return f"""
In Python:
    import keras, kerasft.hub
    model = keras.models.load_model("{out / "model.keras"}")

    from ai_edge_litert.interpreter import Interpreter
    classify = Interpreter("{out / Path(report.path).name}").get_signature_runner()
    scores = classify({image.name}=image)  # float32 {tuple(image.shape)}, 0..255
"""


def _export(
    model: keras.Model,
    data: ImageData,
    precisions: Sequence[str],
    folder: Path,
    advance: Callable[[], None],
) -> tuple[dict[str, Report], dict[str, str]]:
    """Export each precision to a file; the reports, and why a precision was not written."""
    reports, failures = {}, {}
    for precision in precisions:
        name = "model.tflite" if precision == precisions[0] else f"model_{precision}.tflite"
        try:
            reports[precision] = to_tflite(
                model,
                folder / name,
                precision=precision,
                labels=list(data.class_names),
                input_range=(0.0, 255.0),
                pixels=data.pixels.to_dict(),
                holdout=data.test,
            )
        except ExportError as error:  # the trained model is worth keeping all the same
            failures[precision] = str(error)
        advance()
    return reports, failures
