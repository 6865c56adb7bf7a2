"""What a classifier makes of the test part: which classes it confuses, and the samples that are wrong."""

from __future__ import annotations

import base64
import heapq
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kerasft.data import ImageData, TextData

_MOST = 24  # samples that are kept
_SIDE = 96  # pixels of a kept picture
_TINY = 48  # below it a picture is kept as it is
_LETTERS = 400  # of a kept text


@dataclass
class Evaluation:
    """What a classifier made of the test part.

    Attributes:
        classes: Name of each label.
        counts: How often a label (first) was taken for another (second).
        wrong: The wrong samples of which the model is surest, at most 24: `true` and `predicted` label,
            `score` of the latter, and `name`, `picture` (a data URI) with its `side`, or `text`.
    """

    classes: tuple[str, ...]
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """The share that is right."""
        return sum(n for (true, named), n in self.counts.items() if true == named) / self.counts.total()

    def stored(self) -> dict[str, Any]:
        """The same for JSON."""
        confusion = [[*pair, count] for pair, count in sorted(self.counts.items())]
        return {"classes": list(self.classes), "confusion": confusion, "wrong": self.wrong}


def evaluated(model: keras.Model, data: ImageData | TextData, test: tf.data.Dataset) -> Evaluation:
    """Ask a classifier about the test part, once.

    Args:
        model: It gives a score for each class.
        data: The images or texts.
        test: The test part as the model takes it: batches of (inputs, labels) in the order of `data.test`.

    Returns:
        Which classes are confused, and the samples that are wrong.
    """
    found = Evaluation(data.class_names)
    names = _short(data.test_names, Path(data.name)) if isinstance(data, ImageData) else ()
    for sample in heapq.nlargest(_MOST, _wrong(model, data, test, found.counts), key=lambda s: s[0]):
        score, row, true, named, given = sample
        kept: dict[str, Any] = {"true": true, "predicted": named, "score": score}
        if names:
            kept["name"] = names[row]
        kept |= _text(given) if isinstance(given, bytes) else _picture(given)
        found.wrong.append(kept)
    return found


def _wrong(
    model: keras.Model, data: ImageData | TextData, test: tf.data.Dataset, counts: Counter[tuple[int, int]]
) -> Iterator[tuple[float, int, int, int, Any]]:
    """The score, row, label, wrong label and value of each sample that is wrong; counts all of them."""
    first = 0
    batches = ((batch, batch) for batch in test) if test is data.test else zip(test, data.test, strict=True)
    for (inputs, labels), (values, _) in batches:
        scores = np.asarray(model.predict_on_batch(inputs))
        labels, named = np.asarray(labels), scores.argmax(axis=1)
        counts.update(zip(labels.tolist(), named.tolist(), strict=True))
        for row in np.flatnonzero(labels != named).tolist():
            score = float(scores[row, named[row]])
            yield score, first + row, int(labels[row]), int(named[row]), values[row].numpy()
        first += len(labels)


def _picture(pixels: np.ndarray) -> dict[str, Any]:
    """A small copy of a picture of 0 to 255 as a data URI, and its side in pixels."""
    image = Image.fromarray(np.clip(np.round(pixels), 0, 255).astype("uint8"))
    image.thumbnail((_SIDE, _SIDE))
    kind, options = ("png", {}) if max(image.size) < _TINY else ("jpeg", {"quality": 80})
    content = io.BytesIO()
    image.save(content, kind, **options)
    code = base64.b64encode(content.getvalue()).decode()
    return {"picture": f"data:image/{kind};base64,{code}", "side": max(image.size)}


def _text(given: bytes) -> dict[str, Any]:
    text = given.decode("utf-8", "replace")
    return {"text": text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"}


def _short(names: Sequence[str], source: Path) -> list[str]:
    """Names of files within their source, which is a folder or a file that lists them."""
    found = []
    for name in names:
        root = next((r for r in (source, source.parent) if Path(name).is_relative_to(r)), None)
        found.append(name if root is None else Path(name).relative_to(root).as_posix())
    return found
