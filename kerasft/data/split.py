"""Images divided into training, validation and test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class LabelledSource:
    """Images still to be read, their labels, and the part of each: 0 train, 1 validation, 2 test."""

    images: np.ndarray
    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    class_names: tuple[str, ...]
    parts: np.ndarray
    skipped: tuple[Path, ...] = ()


def limited(source: LabelledSource, limit: int | None, rng: np.random.Generator) -> LabelledSource:
    """Keep about `limit` images, the same number of each class in a part; None keeps all."""
    if limit is None or limit >= len(source.labels):
        return source
    if limit < 2 * len(source.class_names):
        raise ValueError(f"limit={limit} is too few for {len(source.class_names)} classes.")
    rows = rng.permutation(len(source.labels))
    keep: list[int] = []
    for part in np.unique(source.parts):
        share = max(1, round(limit * float(np.mean(source.parts == part))))
        by_class = [
            rows[(source.labels[rows] == c) & (source.parts[rows] == part)]
            for c in range(len(source.class_names))
        ]
        each = max(1, share // len(by_class))
        keep += [int(i) for group in by_class for i in group[:each]]
    chosen = np.sort(np.array(keep))
    return dataclasses.replace(
        source, images=source.images[chosen], labels=source.labels[chosen], parts=source.parts[chosen]
    )


def divide(
    source: LabelledSource, validation_fraction: float, test_fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Divide by class what the source has not divided: 0 for training, 1 for validation, 2 for test."""
    parts = source.parts.copy()
    for wanted, fraction, missing in (
        (2, test_fraction, not np.any(parts == 2)),
        (1, validation_fraction, not np.any(parts == 1)),
    ):
        if not missing:
            continue
        pool = np.flatnonzero(parts == 0)
        total = round(len(pool) * fraction)
        groups = [pool[source.labels[pool] == c] for c in range(len(source.class_names))]
        few = [source.class_names[c] for c, group in enumerate(groups) if len(group) < 2]
        if few:
            raise ValueError(
                f"Too few images to divide them: the classes {few} have fewer than two for training and "
                "the rest. Add images, or leave these classes out."
            )
        exact = np.array([len(group) * fraction for group in groups])
        counts = np.maximum(1, np.floor(exact).astype(int))
        for c in np.argsort(counts - exact)[: max(0, total - int(counts.sum()))]:
            counts[c] += 1
        for group, count in zip(groups, counts, strict=True):
            parts[rng.permutation(group)[: min(count, len(group) - 1)]] = wanted
    return parts
