"""The report of a search: its trials as tables, as a figure, and for TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from kerasft.files import write_text
from kerasft.search.results.figure import trials_by_depth
from kerasft.search.results.record import TrialRecord
from kerasft.search.results.tables import to_csv, to_json
from kerasft.search.results.tensorboard import write_hparams

logger = logging.getLogger(__name__)


def write_report(records: Sequence[TrialRecord], objective: str, folder: Path) -> list[Path]:
    """Write `trials.csv`, `trials.json`, `trials.png` and `tensorboard/`.

    Args:
        records: The trials, one of which has a score.
        objective: Name of the score.
        folder: Where they go; those of an earlier report are replaced.

    Returns:
        What was written; the figure is left out without matplotlib.
    """
    write_text(folder / "trials.csv", to_csv(records))
    write_text(folder / "trials.json", to_json(records))
    write_hparams(records, objective, folder / "tensorboard")
    written = [folder / "trials.csv", folder / "trials.json", folder / "tensorboard"]
    try:
        trials_by_depth(records, objective, folder / "trials.png")
        written.append(folder / "trials.png")
    except ImportError as error:
        logger.warning("%s", error)
    return written
