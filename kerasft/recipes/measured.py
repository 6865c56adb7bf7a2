"""What the default recipe measures before training: the head's worth, and what views do; kept in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasft.files import replacing
from kerasft.identity import as_stored, require_same
from kerasft.probe import TO_FINE_TUNE, FrozenHead, Link, rightness
from kerasft.recipes.augmentation import Kind, KindReport, limits_of, look_at_kinds, views_of


@dataclass(frozen=True)
class Measured:
    """What the default recipe measures before training.

    Attributes:
        samples: How many samples the head was solved on.
        batches: In how many batches.
        link: What turns the head's scores into predictions.
        takes_scores: Whether the model gives scores, and its loss does what the link does.
        has_ids: Whether the targets are ids of classes.
        strength: The penalty of the head, see `kerasft.probe.fit_probe`.
        loss: The loss of samples that the head had not seen.
        right: Their accuracy; of numbers minus their squared error.
        error: The standard error of `right`.
        limits: The lowest and the highest value of a pixel; None without pictures.
        kinds: What each kind of view does.
    """

    samples: int
    batches: int
    link: Link
    takes_scores: bool
    has_ids: bool
    strength: float
    loss: float
    right: float
    error: float
    limits: tuple[float, float] | None
    kinds: tuple[KindReport, ...]

    def sentences(self) -> list[str]:
        """The head's worth, and what views do, in words."""
        what = "a squared error" if self.link == "identity" else "an accuracy"
        said = [
            f"The head, solved on {self.samples:,} samples, has {what} of {abs(self.right):.3f} ± "
            f"{self.error:.3f} on samples that it had not seen."
        ]
        for kind in self.kinds:
            used = "They are trained on." if kind.is_used else "They are left out."
            told = f"Views ({kind.kind}) change its loss by {-kind.gain:+.3f} ± {kind.error:.3f}"
            if kind.told_apart is not None:
                told += f", and are told from plain pictures {kind.told_apart:.0%} of the time"
            said.append(f"{told}. {used}")
        return said


def measure(
    head: FrozenHead,
    data: tf.data.Dataset,
    kinds: Sequence[Kind],
    look: bool,
    strength: float,
    limits: tuple[float, float] | None,
    class_weight: dict[int, float] | None,
    seed: int,
) -> Measured:
    """Solve the head, and look at the kinds of views, in one pass over the data."""
    if kinds and limits is None:
        limits = limits_of(data)
    seen = views_of(kinds, strength, limits, seed) if look and limits is not None else {}
    kernel, bias = head.layer.get_weights()
    given = head.read(data, seen)
    scores = given.features @ kernel + bias
    probe = head.solve(given, class_weight=class_weight, standard_errors=TO_FINE_TUNE, seed=seed)
    rows = ~np.isnan(probe.held_out[:, 0])
    right = rightness(probe.held_out[rows], probe.targets[rows], probe.link)
    return Measured(
        len(given.features),
        given.batches,
        probe.link,
        scores.shape == given.outputs.shape and bool(np.allclose(scores, given.outputs, 1e-3, 1e-4)),
        given.targets.size == len(given.targets),
        probe.strength,
        probe.loss,
        float(right.mean()),
        float(right.std() / np.sqrt(len(right))),
        limits,
        tuple(look_at_kinds(probe, given.features, given.views, seed)),
    )


def backbone_digest(model: keras.Model, head: FrozenHead) -> str:
    """A checksum of all weights but the head's."""
    own, found = {id(v) for v in head.layer.weights}, hashlib.blake2b(digest_size=16)
    for variable in model.weights:
        if id(variable) not in own:
            found.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return found.hexdigest()


def write_kept(path: Path, head: FrozenHead, settings: dict[str, Any], measured: Measured) -> None:
    """Write what was measured, and the head."""
    kernel, bias = head.layer.get_weights()
    told = json.dumps({"settings": as_stored(settings), "measured": dataclasses.asdict(measured)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as partial, partial.open("wb") as file:
        np.savez(file, kernel=kernel, bias=bias, told=np.array(told))


def read_kept(path: Path, head: FrozenHead, settings: dict[str, Any]) -> Measured | None:
    """What an earlier run has measured, its head set; None if there is nothing.

    Raises:
        ValueError: It belongs to another model, other data or settings.
    """
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as found:
        told = json.loads(str(found["told"]))
        begun, advice = f"What is kept in {path} was measured", "Give the same, or another file as `kept`."
        require_same(told["settings"], as_stored(settings), begun, advice, {})
        head.layer.set_weights([found["kernel"], found["bias"]])
    fields = told["measured"]
    fields["kinds"] = tuple(KindReport(**kind) for kind in fields["kinds"])
    fields["limits"] = None if fields["limits"] is None else tuple(fields["limits"])
    return Measured(**fields)
