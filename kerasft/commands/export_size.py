"""`kerasft export --image-size`: the model at another size than trained, and what that costs, measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasft.commands.export_data import Range, Source, rule_beside, scaled, side_of, split_beside

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


def resized(model: keras.Model, side: int) -> keras.Model:
    """The model for square images of a side, with the same weights; the model itself if it takes these."""
    from kerasft.export.model import at_image_size

    return model if side_of(model) == side else at_image_size(model, side, side)


def held_to_size(
    path: Path,
    trained: keras.Model,
    model: keras.Model,
    source: Source,
    taken: Range,
    tested: tf.data.Dataset,
    max_drop: float | None,
    say: Callable[[str], object],
) -> dict[str, float]:
    """Measure what the other size costs on the images to test, and leave the file the rest of `max_drop`.

    Args:
        path: The trained model's file.
        trained: The model as it was trained.
        model: The same at the other size.
        source: Where the images come from.
        taken: What black and white become.
        tested: The images to test at the other size, in that range.
        max_drop: The largest loss of accuracy from the trained model to the file, or None.
        say: Is told both accuracies.

    Returns:
        `max_drop` for the file against the model at its size; nothing where there is none.

    Raises:
        ValueError: The other size costs more than `max_drop` by itself.
    """
    from kerasft.data import PixelRule

    was, now = side_of(trained), side_of(model)
    found = source.load(was, rule_beside(path) or PixelRule(), split_beside(path), lambda text: None)
    before = _accuracy(trained, scaled(found.test, taken))
    after = _accuracy(model, tested)
    lost = before - after
    say(
        f"On the {found.test_size:,} images to test the model is right on {before:.4f} at {was} × {was}, as "
        f"it was trained, and on {after:.4f} at {now} × {now}: {100 * lost:.2f} points lost by the size."
    )
    if max_drop is None:
        return {}
    if lost > max_drop:
        raise ValueError(
            f"At {now} × {now} the model itself loses {100 * lost:.2f} points; --max-drop allows "
            f"{100 * max_drop:.2f} from the trained model to the file. Nothing was written. Choose a size "
            f"nearer to {was}, or train at {now}."
        )
    return {"max_drop": min(1.0, max_drop - lost)}


def _accuracy(model: keras.Model, images: tf.data.Dataset) -> float:
    """The share of images of which a classifier with one output names the class."""
    right = [_classes(np.asarray(model.predict_on_batch(x))) == np.asarray(y) for x, y in images]
    return float(np.mean(np.concatenate(right)))


def _classes(scores: np.ndarray) -> np.ndarray:
    """The class of each row of scores; of one column, whether it is above a half."""
    return (scores[:, 0] > 0.5).astype(int) if scores.shape[-1] == 1 else scores.argmax(axis=-1)
