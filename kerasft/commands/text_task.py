"""Texts as the task of a fine-tuning job: token ids to train on, and what is exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft.commands.settings import TextInputs, TextSettings
from kerasft.commands.text_classifier import build_text_classifier, load_encoder
from kerasft.commands.text_tokens import Tokens, counted
from kerasft.data import TextData
from kerasft.export import ExportError, Report, to_tflite
from kerasft.stages import Stages
from kerasft.unfreezing import Phase, UnfreezingSchedule

STRINGS = "from_strings"
"""The folder of the SavedModel that takes strings."""

_HEAD_RATE = 1e-3
_NEAR = 1e-3  # scores of the SavedModel from strings and of the model on token ids


class TextSamples:
    """Texts, and the classifier of token ids that is trained on them, for any job.

    Attributes:
        train, validation, test: Batches of (token ids by input name, labels).
        class_names: Name of each label.
        class_counts: Number of training texts of each.
        split: The part of each text.
        notes: How many texts are cut, and how many tokens are unknown.
    """

    def __init__(self, data: TextData, settings: TextInputs) -> None:
        self.data, self._settings = data, settings
        encoder, self.tokens = load_encoder(settings)
        self._loaded = [encoder]
        self.class_names, self.split = data.class_names, data.split
        self.class_counts = data.class_counts
        self.notes = counted(data, self.tokens)
        self.train, self.validation, self.test = data.mapped(self.tokens)

    def identity(self) -> dict[str, Any]:
        """What a resumed job has to have in common with the one before."""
        return self._settings.identity(self.data)

    def builder(self, state: Path, say: Callable[..., object]) -> Callable[[], keras.Model]:
        """What builds the classifier; the notes are said."""
        for note in self.notes:
            say(note)

        def build() -> keras.Model:
            encoder = self._loaded.pop() if self._loaded else load_encoder(self._settings)[0]
            return build_text_classifier(encoder, self.tokens, len(self.class_names))

        return build

    def save(self, folder: Path) -> None:
        """Write how texts become token ids."""
        self.tokens.save(folder)


class TextTask(TextSamples):
    """Texts and an encoder as the task of fine-tuning.

    Attributes:
        limits: None: token ids have no views.
        phase_rate, phase_decay: The learning rate of phases and its decay, where none are given.
    """

    limits: tuple[float, float] | None = None
    phase_rate: float = 1e-4
    phase_decay: float = 0.9

    def __init__(self, data: TextData, settings: TextSettings) -> None:
        super().__init__(data, settings)
        self.settings = settings

    def schedule(self, stages: Stages) -> UnfreezingSchedule:
        """The head at its own rate, then more of the encoder in each phase, and all of it in the last.

        The rate of the last phase falls to zero.
        """
        steps, given = len(self.train), self.settings.learning_rate
        rate = self.phase_rate if given is None else given
        head, *counts = self.settings.epochs
        last = len(stages) - 1
        phases = [Phase("head", head, learning_rate=_HEAD_RATE)]
        for number, epochs in enumerate(counts, 1):
            falling = keras.optimizers.schedules.PolynomialDecay(rate, steps * epochs, 0.0)
            phases.append(
                Phase(
                    round(last * (1 - number / len(counts))),
                    epochs,
                    learning_rate=falling if number == len(counts) else rate,
                    warmup_steps=max(1, steps // 5),
                )
            )
        return UnfreezingSchedule(phases)

    def export(
        self, model: keras.Model, folder: Path, advance: Callable[[], None]
    ) -> tuple[dict[str, Report], dict[str, str]]:
        """A SavedModel from strings, and a .tflite file from token ids for each precision."""
        write_from_strings(model, self.tokens, folder / STRINGS, self.data.test)
        described = self.tokens.described()
        reports, failures = {}, {}
        for precision in self.settings.precisions:
            name = "model.tflite" if precision == self.settings.precisions[0] else f"model_{precision}.tflite"
            try:
                reports[precision] = to_tflite(
                    model,
                    folder / name,
                    precision=precision,
                    labels=list(self.class_names),
                    text=described,
                    holdout=self.test if described is None else self.data.test,
                )
            except ExportError as error:  # the trained model is worth keeping all the same
                failures[precision] = str(error)
            advance()
        return reports, failures

    def usage(self, out: Path, report: Report) -> str:
        """How to use what was made."""
        inputs = ", ".join(f"{spec.name}=…" for spec in report.inputs)
        return f"""
In Python:
    import tensorflow as tf
    classify = tf.saved_model.load("{out / STRINGS}").signatures["serving_default"]
    scores = classify(tf.constant(["A text."]))["scores"]  # float32 (1, {len(self.class_names)})

    from ai_edge_litert.interpreter import Interpreter
    classify = Interpreter("{out / Path(report.path).name}").get_signature_runner()
    scores = classify({inputs})  # int32 (1, {self.tokens.length}) each, as {out / "text.json"} says
"""


def write_from_strings(model: keras.Model, tokens: Tokens, folder: Path, texts: tf.data.Dataset) -> None:
    """Write a SavedModel that takes strings, and compare it with the model on token ids.

    Args:
        model: The classifier of token ids.
        tokens: Makes them of strings.
        folder: The folder to be made.
        texts: Batches of (strings, labels); the first is compared.

    Raises:
        ExportError: It gives other scores.
    """
    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    tracked = tokens.tracked()
    if tracked is not None:
        module.preprocessor = tracked

    @tf.autograph.experimental.do_not_convert
    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": model(tokens(text), training=False)}

    signature = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    tf.saved_model.save(module, str(folder), signatures=signature)
    batch = next(iter(texts))[0]
    found = tf.saved_model.load(str(folder)).signatures["serving_default"](batch)["scores"].numpy()
    far = float(np.max(np.abs(found - np.asarray(model.predict_on_batch(tokens(batch))))))
    if not far < _NEAR:
        raise ExportError(f"The SavedModel from strings differs from the model on token ids by {far:.1e}.")
