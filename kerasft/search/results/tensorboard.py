"""The trials of a search for TensorBoard's HParams tab: a run for each, with its values and its curve."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api

from kerasft.search.results.record import TrialRecord, own_values


def write_hparams(
    records: Sequence[TrialRecord], objective: str, folder: str | os.PathLike[str]
) -> list[Path]:
    """Write event files that `tensorboard --logdir FOLDER` shows.

    Args:
        records: The trials; those without a score are left out.
        objective: Name of the score.
        folder: Where a folder for each trial goes; one that is there from before is replaced.

    Returns:
        The trials' folders.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     runs = write_hparams([TrialRecord("0", {"learning_rate": 0.1}, score=0.5)], "score", folder)
        ...     [run.name for run in runs]
        ['trial_0']
    """
    runs = []
    for record in records:
        if record.score is None:
            continue
        run = Path(folder) / f"trial_{record.trial}"
        shutil.rmtree(run, ignore_errors=True)
        writer = tf.summary.create_file_writer(str(run))
        with writer.as_default():
            values = {name: _plain(value) for name, value in own_values(record).items()}
            api.hparams({"recipe": record.recipe, "freeze_depth": record.depth} | values, run.name)
            for epoch, value in enumerate(record.curve):
                tf.summary.scalar("epoch", value, step=epoch)
            tf.summary.scalar(objective, record.score, step=record.epochs)
            tf.summary.scalar("seconds", record.seconds, step=record.epochs)
        writer.close()
        runs.append(run)
    return runs


def _plain(value: object) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
