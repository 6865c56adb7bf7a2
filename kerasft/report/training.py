"""What happened in training: stages and their thaw, rates, curves, and how far weights moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from kerasft.report.charts import Line, bars, grid, lines
from kerasft.report.markup import Markup, details, element, joined, table
from kerasft.report.numbers import columns, counted, decimal, is_number, short, spread
from kerasft.report.run_folder import MissingError, Run

_ROWS = 120  # epochs in a table
_RATES = (
    "The fuller a cell, the higher the learning rate; empty cells are frozen. A rate is the larger of those "
    "at an epoch's first and last step, factors and warm-up included."
)
_MOVEMENT = (
    "Movement is ‖w − w₀‖ / ‖w₀‖ over the weights of a stage that can train, where w₀ are the weights with "
    "which training began."
)
_NO_CKA = (
    "How similar the outputs of the stages still are to the original's (CKA) was not measured in this run."
)


def phases(run: Run) -> Markup:
    """The phases that ran: what trained in them, and what they reached."""
    rows = run.report.get("phases")
    if not rows:
        raise MissingError("no phase has ended" if not run.finished else "report.json has none")
    header = ("phase", "depth", "trains from", "epochs", "weights that train", "accuracy", "validation")
    return table(
        header,
        (
            (
                number,
                row["depth"],
                row["from"],
                row["epochs"],
                f"{row['trained']:,}",
                decimal(row["accuracy"]),
                decimal(row["val_accuracy"]),
            )
            for number, row in enumerate(rows, 1)
        ),
    )


def stages(run: Run) -> Markup:
    """When each stage thawed, and at which learning rate it trained."""
    names, weights = _names(run), [stage["parameters"] for stage in run.section("stages")]
    rates = _by_epoch(run, "rates", len(names))
    rows = []
    for place, name in enumerate(names):
        own = [row[place] for row in rates]
        trained = [epoch for epoch, rate in enumerate(own) if rate]
        thawed = f"epoch {trained[0] + 1}" if trained else "never"
        first, last = (short(own[trained[0]]), short(own[trained[-1]])) if trained else ("", "")
        rows.append((name, f"{weights[place]:,}", thawed, first, last))
    epochs = columns(rates)
    known = [math.log(rate) for row in rates for rate in row if rate]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def shade(rate: float) -> float | None:
        return None if not rate else 1.0 if high == low else (math.log(rate) - low) / (high - low)

    chart = grid(
        "Stages by epoch: filled where a stage trains",
        "A row for each stage, the head on top; a column for each epoch. Empty: frozen. The fuller, the "
        "higher is the learning rate, on a logarithmic scale.",
        names,
        epochs,
        [[shade(rates[e][place]) for e in epochs] for place in range(len(names))],
        [[_rate(rates[e][place]) for e in epochs] for place in range(len(names))],
    )
    header = ("stage", "weights", "thawed in", "first rate", "last rate")
    return joined(
        [
            element("p", _RATES, class_="quiet"),
            element("div", chart, table(header, rows), class_="charts"),
            _numbers("Learning rates by epoch", names, rates, _rate),
        ]
    )


def curves(run: Run) -> Markup:
    """Loss and accuracy of training and validation."""
    history = run.history
    phase = [int(p) for p in history.get("phase", []) if is_number(p)]
    drawn, columns_ = [], []
    for name, title in (("loss", "Loss"), ("accuracy", "Accuracy")):
        pair = [Line("training", history.get(name, []), dashed=True)]
        pair.append(Line("validation", history.get(f"val_{name}", [])))
        there = [line for line in pair if any(map(is_number, line.values))]
        if not there:
            continue
        ends = "; ".join(f"{line.name} ends at {decimal(line.values[-1])}" for line in there)
        drawn.append(lines(title, f"{title} by epoch: {ends}.", there, phase))
        columns_ += [(name, history.get(name, [])), (f"val. {name}", history.get(f"val_{name}", []))]
    if not drawn:
        raise MissingError("the history has neither loss nor accuracy")
    count = max(len(values) for _, values in columns_)
    header = ["epoch", "phase", *(name for name, _ in columns_)]
    rows = [
        (
            e + 1,
            phase[e] + 1 if e < len(phase) else "",
            *(decimal(values[e] if e < len(values) else None) for _, values in columns_),
        )
        for e in spread(count, _ROWS)
    ]
    return joined([element("div", *drawn, class_="charts"), details("Numbers by epoch", table(header, rows))])


def movement(run: Run) -> Markup:
    """How far the weights of each stage moved, and how much of the pre-trained outputs is left."""
    distances, last, cka, last_cka, names = _distances(run)
    drawn = []
    if distances:
        drawn.append(
            bars(
                "Weight movement at the end",
                "For each stage the distance of its weights from where they began, divided by their size.",
                names,
                last,
            )
        )
    if cka:
        drawn.append(
            bars(
                "Similarity of the outputs to the original's (CKA)",
                "For each stage linear CKA of its output with the pre-trained model's: 1 is the same.",
                names,
                last_cka,
            )
        )
    said = _MOVEMENT if cka else f"{_MOVEMENT} {_NO_CKA}"
    parts = [element("p", said, class_="quiet"), element("div", *drawn, class_="charts")]
    if distances:
        parts.append(_numbers("Movement by epoch", names, distances, short))
    if cka:
        parts.append(_numbers("CKA by epoch", names, cka, decimal))
    return joined(parts)


def _distances(run: Run) -> tuple[list[list[Any]], list[Any], list[list[Any]], list[Any], list[str]]:
    """Distances by epoch and in the end, CKA likewise, each maybe empty, and the names of the stages."""
    kept = run.evidence.get("retention") or {}
    cka = kept.get("cka") or []
    last_cka = kept.get("cka_in_the_end") or (cka[-1] if cka else [])
    found = run.evidence.get("epochs")
    if found and any(row.get("distance") for row in found):
        names = _names(run)
        distances = _by_epoch(run, "distance", len(names))
        if cka and list(kept["stages"]) != names:  # it knows those of the original alone
            where = {name: place for place, name in enumerate(kept["stages"])}
            *cka, last_cka = [
                [row[where[n]] if n in where else None for n in names] for row in [*cka, last_cka]
            ]
        return distances, run.evidence.get("moved") or distances[-1], cka, last_cka, names
    if kept.get("distance") or cka:
        distances = kept.get("distance") or []
        return distances, distances[-1] if distances else [], cka, last_cka, list(kept["stages"])
    raise MissingError(run.why_missing)


def _rate(rate: float) -> str:
    return short(rate) if rate else "frozen"


def _names(run: Run) -> list[str]:
    return [str(stage["name"]) for stage in run.section("stages")]


def _by_epoch(run: Run, name: str, count: int) -> list[list[Any]]:
    """For each epoch a number of each stage."""
    rows = [row[name] for row in run.section("epochs") if row.get(name)]
    if not rows:
        raise MissingError("no epoch has ended" if not run.finished else run.why_missing)
    if any(len(row) != count for row in rows):
        raise ValueError(f"{name} has another number of stages than there are")
    return rows


def _numbers(
    title: str, names: Sequence[str], rows: Sequence[Sequence[Any]], shown: Callable[[Any], str]
) -> Markup:
    """A table of stages by epochs."""
    epochs = columns(rows)
    title += "" if len(epochs) == len(rows) else f" ({len(epochs)} of {counted(len(rows), 'epoch')})"
    header = ["stage", *(epoch + 1 for epoch in epochs)]
    body = [(name, *(shown(rows[e][place]) for e in epochs)) for place, name in enumerate(names)]
    return details(title, table(header, body))
