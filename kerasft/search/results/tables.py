"""The result records of a search as tables: flat rows, CSV, JSON, and a table for `rich`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from kerasft.search.results.ranking import ranked
from kerasft.search.results.record import TrialRecord, own_values
from kerasft.tables import FittingTable, html_of


def rows(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """Make one flat row for each trial: what it was, what it achieved, and its hyperparameters."""
    found = []
    for r in records:
        row = {
            "trial": r.trial, "status": r.status, "score": r.score, "recipe": r.recipe, "depth": r.depth,
            "trains_from": r.trains_from, "epochs": r.epochs, "best_epoch": r.best_epoch,
            "seconds": round(r.seconds, 3), "replayed": r.replayed, "resumed_from": r.resumed_from,
        }  # fmt: skip
        row |= {k: v for k, v in r.metrics.items() if k not in row}
        row |= {f"hp:{k}": v for k, v in own_values(r).items()}
        found.append(row)
    return found


def to_csv(records: Iterable[TrialRecord]) -> str:
    """Write the rows as CSV with a header; a column that a trial lacks is empty."""
    flat = rows(records)
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def to_json(records: Iterable[TrialRecord]) -> str:
    """Write the records with their curves as JSON."""
    return json.dumps([asdict(r) for r in records], indent=1, default=str) + "\n"


def table(
    records: Sequence[TrialRecord], direction: str, title: str = "", most: int | None = None
) -> FittingTable:
    """Show the best trials as a table for `rich`, and after them those without a score.

    Args:
        records: The trials.
        direction: "max" or "min".
        title: A title.
        most: The most rows; None shows all.
    """
    scored = ranked(records, direction)
    others = [r for r in records if all(r is not s for s in scored)]
    columns = ("trial", "score", "recipe", "trains from", "rate", "decay", "epochs", "seconds", "")
    found = FittingTable(*columns, title=title or None)
    for r in [*scored, *others][:most]:
        rate, decay = r.values.get("learning_rate"), r.values.get("layerwise_decay")
        found.add_row(
            r.trial,
            "" if r.score is None else f"{r.score:.4f}",
            r.recipe.replace("_", " "),
            f"{r.trains_from} ({r.depth})",
            f"{rate:.1e}" if isinstance(rate, float) else "",
            f"{decay:.2f}" if isinstance(decay, float) and r.recipe != "frozen_head" else "",
            str(r.epochs),
            f"{r.seconds:.1f}",
            {"completed": "", "stopped": "stopped as unlikely"}.get(r.status, r.status),
        )
    return found


class Trials(list[TrialRecord]):
    """The records of a search, which a notebook shows as a table, the best first.

    Args:
        records: The trials.
        direction: "max" or "min".
    """

    def __init__(self, records: Iterable[TrialRecord], direction: str) -> None:
        super().__init__(records)
        self.direction = direction

    def _repr_html_(self) -> str:
        return html_of(table(self, self.direction))
