"""advise: measure on recorded features whether to extract them or to fine-tune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasft.advice.curve import errors_by_size, extrapolated
from kerasft.advice.errors_of import Task
from kerasft.advice.record import Record, record
from kerasft.advice.result import Advice, AtDepth, AtSize
from kerasft.advice.verdict import judged
from kerasft.arguments import check_integer
from kerasft.probe import Link, logme, read_targets
from kerasft.stages import Stages, find_stages

Array = np.ndarray


def advise(
    model: keras.Model | Stages,
    data: Any,
    *,
    link: Link | None = None,
    labels: Sequence[str] | None = None,
    samples: int = 1000,
    memory: int = 2**28,
    seed: int = 0,
) -> Advice:
    """Say whether to extract features or to fine-tune, and from which stage, before anything is trained.

    The model runs once over the data, as in inference. On what each stage gives, averaged over pixels or
    steps, a linear probe is cross-validated and LogME computed; on what the last stage before the head gives,
    also with an eighth, a quarter and a half of the samples. The rules that turn these numbers into a
    recommendation compare paired errors with their standard errors; `reasons` and `confidence` say how far
    they carry. Nothing of the model is changed.

    Args:
        model: A classifier, or a model of numbers, as `kerasft.probe.solve_head` takes it: pre-trained
            stages, and a Dense layer as its last. Compiled or not. Or its `Stages`, for a subclassed model:
            `find_stages(model, at=[...])`.
        data: A finite `tf.data.Dataset` of batches (x, y) or (x, y, sample_weight), a list of such batches,
            or arrays (x, y). Without augmentation. The features are the last axis of what a stage gives.
        link: As in `solve_head`; needed where the model ends with scores and is not compiled.
        labels: Names of the classes, for messages.
        samples: The most samples that are used, drawn at random.
        memory: The most bytes that their features may take; where they would take more, fewer are drawn.
        seed: Of the draw and of the folds.

    Returns:
        The advice; `print` shows it.

    Raises:
        TypeError: The model is no Keras model, or the data are none of these.
        ValueError: The model is subclassed and its stages are not given, has one stage, several outputs, or
            ends in no Dense layer; the data are empty or have no end; a class has one sample; targets are not
            finite or all the same; a stage gives values that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(60) % 2
        >>> x = (rng.normal(size=(60, 4)) + 5 * y[:, None]).astype("float32")
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="body"),
        ...                         keras.layers.Dense(2, "softmax", name="top")])
        >>> advice = advise(net, (x, y))
        >>> advice.recommendation, advice.depth, advice.by_depth[0].score
        ('extract_features', 1, 1.0)

    References:
        Alain & Bengio (2016), Understanding intermediate layers using linear classifier probes,
        arXiv:1610.01644; You et al. (2021), LogME, arXiv:2102.11005; Kumar et al. (2022), arXiv:2202.10054.
    """
    check_integer("samples", samples, at_least=4)
    check_integer("memory", memory, at_least=1)
    stages = find_stages(model)
    found = record(stages, data, samples, memory, seed)
    task, counted = _task(stages, found, link, labels, seed)
    features = [f[counted] for f in found.features]
    probes = [task.fitted(f) for f in features]
    errors = [task.errors(probe.held_out) for probe in probes]
    for own, probe in zip(errors, probes, strict=True):
        own[np.isnan(probe.held_out[:, 0])] = np.nan
    by_size = errors_by_size(task, features[-1], errors[-1])
    curve = _curve(task, by_size)
    names = [stages[depth - 1].name for depth in found.depths]
    in_training = task.errors(probes[-1].scores(features[-1]))
    verdict = judged(task, names, errors, in_training, by_size, curve)
    rows = []
    for place, (depth, own) in enumerate(zip(found.depths, errors, strict=True)):
        mean, deviation = task.mean(own)
        size, evidence = features[place].shape[1], logme(features[place], task.wanted)
        rows.append(AtDepth(depth, names[place], size, 1 - mean, deviation, evidence))
    depth = 0 if verdict.row is None else found.depths[verdict.row]
    return Advice(
        verdict.recommendation,
        depth,
        stages[depth].name,
        verdict.confidence,
        verdict.reasons,
        task.measure,
        tuple(rows),
        curve,
        len(counted),
        found.size,
        tuple(found.notes),
    )


def _task(
    stages: Stages, found: Record, link: Link | None, labels: Sequence[str] | None, seed: int
) -> tuple[Task, Array]:
    """The targets, and the rows that count.

    Raises:
        ValueError: They don't tell enough.
    """
    counted = np.flatnonzero(found.weights > 0)
    if len(counted) < 4:
        raise ValueError(f"Advice needs at least 4 samples that count; there are {len(counted)}.")
    if not np.isfinite(np.asarray(found.targets, "float64")).all():
        raise ValueError("Some targets are not finite numbers. Leave those samples out.")
    kind, wanted = read_targets(stages.model, found.scores, found.outputs, found.targets, link)
    wanted = wanted[counted]
    same = np.flatnonzero(np.ptp(wanted, axis=0) == 0)
    if kind == "softmax":
        names = list(labels or map(str, range(wanted.shape[1])))
        classes, counts = np.unique(wanted.argmax(1), return_counts=True)
        if len(classes) < 2:
            raise ValueError(f"All samples are of class {names[classes[0]]}: there is nothing to tell apart.")
        if counts.min() < 2:
            few = ", ".join(names[label] for label in classes[counts < 2])
            drawn = "" if found.seen == len(found.weights) else " that were drawn; give a larger samples="
            raise ValueError(
                f"Some classes have one sample: {few}. Cross-validation needs two of each, one to fit and "
                "one to hold out: add some, or leave these classes out. There are "
                f"{len(counted):,} samples{drawn}."
            )
        found.notes.extend(f"No sample is of class {names[label]}." for label in same)
    elif len(same) == wanted.shape[1] or (kind == "identity" and len(same)):
        raise ValueError(f"The targets of the outputs {same.tolist()} are the same for all samples.")
    return Task(wanted, kind, found.weights[counted], seed), counted


def _curve(task: Task, by_size: dict[int, Array]) -> tuple[AtSize, ...]:
    """Scores at each size, and at twice the largest."""
    count = len(task.weights)
    sizes = [round(count / parts) for parts in by_size]
    means = [task.mean(errors) for errors in by_size.values()]
    points = [AtSize(size, 1 - mean, spread) for size, (mean, spread) in zip(sizes, means, strict=True)]
    if len(points) > 1:
        least = 0.5 / count  # of no error there is no logarithm
        known = np.array([[max(mean, least), max(spread, 1e-9)] for mean, spread in means])
        error, spread = extrapolated(np.array(sizes, float), known[:, 0], known[:, 1], 2 * count)
        points.append(AtSize(2 * count, 1 - error, spread, measured=False))
    return tuple(points)
