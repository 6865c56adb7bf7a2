"""Augmentation: other views of pictures, drawn anew in each pass, of the kinds that leave the class as it is.

Which kinds those are depends on the pictures: a mirrored cat is a cat, a mirrored 2 is nothing. It is
measured on the frozen features: a kind is left out if a linear probe that has learned from such views as well
is clearly worse on plain pictures that it has not seen. A mirror has to make pictures of the same kind, too:
ones that a probe cannot tell from plain ones.

Views are drawn by a random number for each batch that follows from the seed and the number of the pass, as
`tf.data`'s own shuffling does, so that a run that is resumed sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import tensorflow as tf

from kerasft.probe import LinearProbe, Link, held_out_scores, rightness, sample_losses

Kind: TypeAlias = Literal["flip", "affine", "color"]
"""A kind of view: "flip" mirrors pictures left to right, "affine" turns, moves, scales and stretches them,
"color" changes their brightness, contrast and the balance of their channels."""
KINDS: tuple[Kind, ...] = get_args(Kind)
CLEAR = 2.0
"""Standard errors from which on a difference counts."""
MOST_TOLD_APART = 0.55


@dataclass(frozen=True)
class KindReport:
    """What a kind of view does for a probe.

    Attributes:
        kind: The kind.
        gain: By how much the loss of plain pictures that a probe has not seen falls when it learns from views
            of others as well.
        error: The standard error of `gain`.
        told_apart: Of mirrored pictures: how often a probe that has not seen a picture tells it from its
            mirror image; one half where the data look the same in a mirror. None of other kinds.
        told_error: The standard error of `told_apart`.
    """

    kind: Kind
    gain: float
    error: float
    told_apart: float | None = None
    told_error: float = 0.0

    @property
    def is_other(self) -> bool:
        """Whether a mirror makes pictures of another kind."""
        most = max(MOST_TOLD_APART, 0.5 + CLEAR * self.told_error)
        return self.told_apart is not None and self.told_apart > most

    @property
    def is_used(self) -> bool:
        """Whether such views do no clear harm, and are of the same kind as the pictures."""
        return self.gain >= -CLEAR * self.error and not self.is_other


def augmented(
    data: tf.data.Dataset,
    kinds: Sequence[Kind] = KINDS,
    *,
    strength: float = 0.15,
    limits: tuple[float, float],
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches whose pictures are views of the given ones, drawn anew in each pass.

    Args:
        data: Batches of (pictures, …): one tensor (batch, height, width, channels), and what belongs to it.
        kinds: The kinds of views. Each changes half of the pictures, whatever others change.
        strength: How far pictures are turned (radians), scaled and stretched (parts), moved (half of that, in
            parts of the side) and changed in brightness and contrast (parts of the range), at most.
        limits: The lowest and the highest value of a pixel; views stay between them.
        seed: Of what is drawn.

    Returns:
        As many batches, of the same shapes and dtypes.

    Raises:
        ValueError: A kind that does not exist, or data that are no batches of one tensor of pictures.

    Example:
        >>> pictures = tf.random.uniform((4, 8, 8, 3))
        >>> views = augmented(tf.data.Dataset.from_tensors((pictures, [0, 1, 0, 1])), limits=(0.0, 1.0))
        >>> next(iter(views))[0].shape
        TensorShape([4, 8, 8, 3])
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"There are no views of the kinds {unknown}. There are {list(KINDS)}.")
    check_pictures(data)
    if not kinds:
        return data
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def view(batch: tuple[Any, ...], draw: tf.Tensor) -> tuple[Any, ...]:
        return (view_of(batch[0], draw, kinds, strength, limits), *batch[1:])

    return tf.data.Dataset.zip(data, draws).map(view, num_parallel_calls=tf.data.AUTOTUNE)


def check_pictures(data: tf.data.Dataset) -> None:
    """Raise unless data are batches of one tensor of pictures and what belongs to them.

    Raises:
        ValueError: They are something else.
    """
    spec = data.element_spec
    pictures = spec[0] if isinstance(spec, tuple) and spec else None
    if not isinstance(pictures, tf.TensorSpec) or pictures.shape.rank != 4:
        raise ValueError(
            "Views are made of batches (pictures, labels), the pictures one tensor of shape (batch, height, "
            f"width, channels); the data give {spec}."
        )


def view_of(
    pictures: tf.Tensor,
    draw: tf.Tensor,
    kinds: Sequence[Kind],
    strength: float,
    limits: tuple[float, float],
    share: float = 0.5,
) -> tf.Tensor:
    """A view of each picture, a function of two random integers.

    Args:
        pictures: (batch, height, width, channels).
        draw: (2,), integers.
        kinds, strength, limits: See `augmented`.
        share: The part of the pictures that each kind changes.
    """
    pictures = tf.convert_to_tensor(pictures)
    count = tf.shape(pictures)[0]
    seeds = iter(tf.unstack(tf.random.split(tf.cast(draw, tf.int32), 11), num=11))

    def drawn(low: float, high: float, *shape: int) -> tf.Tensor:
        return tf.random.stateless_uniform((count, *shape), next(seeds), low, high)

    def changed(kind: Kind, *shape: int) -> tf.Tensor:
        """1 for the pictures that a kind changes, else 0."""
        is_drawn = drawn(0.0, 1.0, *shape) < share
        return tf.cast(is_drawn, tf.float32) if kind in kinds else tf.zeros_like(is_drawn, tf.float32)

    views = tf.cast(pictures, tf.float32)
    if "flip" in kinds or "affine" in kinds:
        mirrored, far = changed("flip"), changed("affine") * strength
        angle, scale, stretch = far * drawn(-1.0, 1.0), far * drawn(-1.0, 1.0), far * drawn(-0.5, 0.5)
        shift = far[:, None] * drawn(-0.5, 0.5, 2)
        views = _moved(views, angle, 1.0 + scale, tf.exp(stretch), shift, mirrored)
    if "color" in kinds:
        (low, high), far = limits, changed("color", 1, 1, 1) * strength
        middle = (low + high) / 2
        contrast = 1.0 + far * drawn(-1.0, 1.0, 1, 1, 1)
        tint = far * drawn(-0.5, 0.5, 1, 1, views.shape[-1] or 1) * (high - low)
        views = tf.clip_by_value((views - middle) * contrast + (middle + tint), low, high)
    if pictures.dtype.is_integer:
        views = tf.round(views)
    return tf.ensure_shape(tf.cast(views, pictures.dtype), pictures.shape)


def _moved(
    pictures: tf.Tensor,
    angle: tf.Tensor,
    scale: tf.Tensor,
    stretch: tf.Tensor,
    shift: tf.Tensor,
    mirrored: tf.Tensor,
) -> tf.Tensor:
    """Pictures mirrored where that is 1, then turned, scaled, stretched and moved around their middle.

    Edges go on outside.
    """
    height, width = tf.unstack(tf.cast(tf.shape(pictures)[1:3], tf.float32))
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b = cos * scale * stretch, -sin * scale
    c, d = sin * scale, cos * scale / stretch
    zero, side = tf.zeros_like(a), 1.0 - 2.0 * mirrored
    offset_x = middle_x - a * middle_x - b * middle_y + shift[:, 0] * width
    offset_y = middle_y - c * middle_x - d * middle_y + shift[:, 1] * height
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures,
        transforms=tf.stack(
            [side * a, side * b, side * offset_x + mirrored * (width - 1), c, d, offset_y, zero, zero], axis=1
        ),
        output_shape=tf.shape(pictures)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def limits_of(data: Iterable[Any]) -> tuple[float, float]:
    """The lowest and the highest value of a pixel in all pictures.

    Raises:
        ValueError: There are none.
    """
    low, high = np.inf, -np.inf
    for batch in data:
        pictures = np.asarray(batch[0])
        low, high = min(low, float(pictures.min())), max(high, float(pictures.max()))
    if not low <= high:
        raise ValueError("The data are empty.")
    return low, high


def views_of(
    kinds: Sequence[Kind], strength: float, limits: tuple[float, float], seed: int = 0
) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """A function for each kind that makes a view of each picture of a batch, drawn anew for each batch.

    Args:
        kinds: The kinds of views, a function for each.
        strength: How far pictures change, as for `augmented`.
        limits: The lowest and the highest value of a pixel; views stay between them.
        seed: Of what is drawn.
    """

    def view(kind: Kind, draws: np.random.Generator) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda pictures: view_of(
            pictures, tf.constant(draws.integers(0, 2**31, 2), tf.int32), [kind], strength, limits, 1.0
        )

    return {kind: view(kind, np.random.default_rng([seed, KINDS.index(kind)])) for kind in kinds}


def look_at_kinds(
    probe: LinearProbe, features: np.ndarray, views: Mapping[str, np.ndarray], seed: int = 0
) -> list[KindReport]:
    """Measure what each kind of view does for a probe.

    Args:
        probe: The probe of the plain pictures; those of the views have its penalty.
        features: Those of the plain pictures, (samples, features).
        views: Those of views of the same pictures, by kind.
        seed: Of the probe's folds.

    Returns:
        A report on each kind.
    """
    count, seen = len(features), ~np.isnan(probe.held_out[:, 0]) & (probe.sample_weight > 0)
    shares = probe.sample_weight[seen] / probe.sample_weight[seen].sum()

    def held_out(rows: Sequence[np.ndarray], targets: np.ndarray, link: Link) -> np.ndarray:
        """Scores by probes that are all found to the same accuracy."""
        pictures, weights = np.tile(np.arange(count), len(rows)), np.tile(probe.sample_weight, len(rows))
        x = np.concatenate(rows)
        return held_out_scores(
            x, targets, link, probe.strength, sample_weight=weights, groups=pictures, seed=seed
        )

    def losses(rows: Sequence[np.ndarray]) -> np.ndarray:
        scores = held_out(rows, np.concatenate([probe.targets] * len(rows)), probe.link)[:count]
        return sample_losses(scores[seen], probe.targets[seen], probe.link)

    reports, plain = [], losses([features])
    for kind in KINDS:
        if kind not in views:
            continue
        gains = plain - losses([features, views[kind]])
        gain = float(shares @ gains)
        report = KindReport(kind, gain, float(np.sqrt((shares**2) @ (gains - gain) ** 2)))
        if kind == "flip":
            which = np.eye(2)[np.repeat([0, 1], count)]
            scores = held_out([features, views[kind]], which, "softmax")
            right = rightness(scores, which, "softmax")[np.tile(seen, 2)]
            report = replace(
                report, told_apart=float(right.mean()), told_error=float(0.5 / np.sqrt(len(right)))
            )
        reports.append(report)
    return reports
