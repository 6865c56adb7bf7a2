"""The trials of a search, as a figure and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerasft.report.charts import Points, points
from kerasft.report.markup import Markup, element, joined, table
from kerasft.report.numbers import counted, decimal, is_number, short
from kerasft.report.run_folder import MissingError, Run

_ROWS = 300


def trials(run: Run) -> Markup:
    """Score against freeze depth, and a row for each trial, the best first."""
    records: list[Mapping[str, Any]] = run.trials
    if not records:
        raise MissingError("no trial has ended" if not run.finished else "trials.json has none")
    objective = str((run.evidence.get("search") or {}).get("objective", "score"))
    scored = sorted((r for r in records if is_number(r["score"])), key=lambda r: -r["score"])
    others = [r for r in records if not is_number(r["score"])]
    counts = {s: sum(r["status"] == s for r in records) for s in ("completed", "stopped", "failed")}
    said = f"{counted(len(records), 'trial')}: {', '.join(f'{n:,} {s}' for s, n in counts.items() if n)}."
    if scored:
        best = scored[0]
        said += f" The best is trial {best['trial']}: {_words(best)}; {objective} {decimal(best['score'])}."
    parts = [element("p", said)]
    rows = [_row(r) for r in [*scored, *others][:_ROWS]]
    header = ("trial", objective, "recipe", "trains from", "rate", "decay", "epochs", "seconds", "")
    drawn = [_figure(scored, objective)] if scored else []
    caption = None if len(rows) == len(records) else f"The first {len(rows)} of {len(records):,}"
    parts.append(element("div", *drawn, table(header, rows, caption), class_="charts"))
    return joined(parts)


def _figure(scored: Sequence[Mapping[str, Any]], objective: str) -> Markup:
    stages = dict(sorted((r["depth"], str(r["trains_from"])) for r in scored))
    places = {depth: place for place, depth in enumerate(stages)}
    series: dict[str, Points] = {}
    for r in scored:
        one = series.setdefault(r["recipe"], Points(r["recipe"].replace("_", " ")))
        one.places.append(places[r["depth"]])
        one.values.append(r["score"])
        one.hollow.append(r["status"] != "completed")
        one.tips.append(f"Trial {r['trial']}: {_words(r)}, {decimal(r['score'])}")
    return points(
        f"{objective} by the first stage that trains",
        "A point for each trial, a shape for each recipe; hollow: stopped as unlikely to become the best.",
        list(series.values()),
        [f"{name} ({depth})" for depth, name in stages.items()],
    )


def _words(record: Mapping[str, Any]) -> str:
    return f"{str(record['recipe']).replace('_', ' ')}, trains from {record['trains_from']}"


def _row(r: Mapping[str, Any]) -> tuple[object, ...]:
    rate, decay = r["values"].get("learning_rate"), r["values"].get("layerwise_decay")
    note = {"completed": "", "stopped": "stopped as unlikely"}.get(r["status"], r["status"])
    return (
        r["trial"], decimal(r["score"]), str(r["recipe"]).replace("_", " "),
        f"{r['trains_from']} ({r['depth']})",
        short(rate) if is_number(rate) else "",
        decimal(decay, 2) if is_number(decay) and r["recipe"] != "frozen_head" else "",
        r["epochs"], decimal(r["seconds"], 1), note,
    )  # fmt: skip
