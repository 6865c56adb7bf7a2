"""The outcome of fine-tuning and of a search: as data, as JSON, and on the terminal."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from kerasft.cache import CacheReport
from kerasft.export import Report
from kerasft.report import PAGE
from kerasft.search import TrialRecord, ranked, table
from kerasft.stages import Stages
from kerasft.tables import FittingTable
from kerasft.unfreezing import UnfreezingSchedule


@dataclass(frozen=True)
class Outcome:
    """The outcome of fine-tuning.

    Attributes:
        phases: For each phase: depth, epochs, trained parameters, last validation accuracy.
        head_accuracy: Test accuracy of the frozen backbone with a trained head.
        accuracy: Test accuracy of the fine-tuned Keras model.
        reports: The export's report for each precision.
        failures: Why a precision was not written.
        frozen_checked: How many comparisons of a frozen weight before and after an epoch were made; all were
            equal to the bit, or the job would have raised.
        seconds: Whole time, from the loaded data to the verified files.
        out: The folder.
        files: Names of the files in it.
        cache: Report of the cache; None if the cache was off.
        usage: How to use what was made, for the terminal.
        class_weights: What each class counted in training; None: all the same.
    """

    phases: list[dict[str, Any]]
    head_accuracy: float
    accuracy: float
    reports: dict[str, Report]
    failures: dict[str, str]
    frozen_checked: int
    seconds: float
    out: Path
    files: list[str] = field(default_factory=list)
    cache: CacheReport | None = None
    usage: str = ""
    class_weights: dict[str, float] | None = None


def phase_rows(
    schedule: UnfreezingSchedule, stages: Stages, history: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """A row on each phase that ran, from the logs of all epochs.

    Args:
        schedule: The phases.
        stages: The stages of the model.
        history: The logs of each epoch by name; `phase` is the phase that it belonged to. Without that, as in
            the logs of an earlier version, phases last as long as they say.
    """
    ran = history.get("phase")
    if ran is None:
        ran = [float(i) for i, phase in enumerate(schedule) for _ in range(phase.epochs or 0)]
    rows = []
    for index, phase in enumerate(schedule):
        if index not in ran:
            continue
        end = max(epoch for epoch, number in enumerate(ran) if number == index)
        depth = stages.depth(phase.depth)
        rows.append(
            {
                "depth": depth,
                "from": phase.depth if isinstance(phase.depth, str) else [*stages.names, "nothing"][depth],
                "epochs": ran.count(index),
                "trained": int(history["trainable_params"][end]),
                "accuracy": history["accuracy"][end],
                "val_accuracy": history["val_accuracy"][end],
            }
        )
    return rows


def report_json(outcome: Outcome, history: dict[str, list[float]]) -> str:
    """The outcome and the logs of all epochs as JSON; files are named within the folder."""
    exports = {
        name: {**json.loads(report.to_json()), "path": Path(report.path).name}
        for name, report in outcome.reports.items()
    }
    content = {
        "phases": outcome.phases,
        "head_accuracy": outcome.head_accuracy,
        "accuracy": outcome.accuracy,
        "seconds": round(outcome.seconds, 1),
        "cache": None if outcome.cache is None else dataclasses.asdict(outcome.cache),
        "class_weights": outcome.class_weights,
        "not_exported": outcome.failures,
        "exports": exports,
        "history": history,
    }
    return json.dumps(content, indent=2) + "\n"


@dataclass(frozen=True)
class SearchOutcome:
    """The outcome of a search.

    Attributes:
        records: All trials.
        objective: Name of the score.
        accuracy: Test accuracy of the best model.
        seconds: Whole time.
        out: The folder.
        files: Names of the files in it.
    """

    records: list[TrialRecord]
    objective: str
    accuracy: float
    seconds: float
    out: Path
    files: list[str]

    @property
    def best(self) -> TrialRecord:
        """The best trial."""
        return ranked(self.records, "max")[0]


def show(outcome: Outcome) -> None:
    """Print the closing tables, and how to load what was made.

    Raises:
        typer.Exit: Nothing was exported.
    """
    console = Console()
    console.print(_phases(outcome))
    console.print(_results(outcome))
    console.print(
        f"Frozen weights compared after each epoch: {outcome.frozen_checked:,}, all equal to the bit.",
        highlight=False,
    )
    if outcome.cache is not None:
        console.print(f"Frozen work: {outcome.cache}", highlight=False)
    for precision, reason in outcome.failures.items():
        console.print(f"{precision} was not exported: {reason}", style="red", markup=False)
    model = outcome.out / "model.keras"
    if not outcome.reports:
        console.print(f"The trained model is in {model}.")
        raise typer.Exit(1)
    files = ", ".join(sorted(outcome.files))
    console.print(f"{outcome.seconds:.0f} s. In {outcome.out}: {files}", highlight=False)
    if PAGE in outcome.files:
        typer.echo(f"The whole run on one page: {outcome.out / PAGE}")
    typer.echo(outcome.usage)


def _phases(outcome: Outcome) -> FittingTable:
    rows = FittingTable("phase", "depth", "trains from", "epochs", "parameters", "accuracy", "val.")
    for number, row in enumerate(outcome.phases, 1):
        rows.add_row(
            str(number),
            str(row["depth"]),
            str(row["from"]),
            str(row["epochs"]),
            f"{row['trained']:,}",
            f"{row['accuracy']:.4f}",
            f"{row['val_accuracy']:.4f}",
        )
    return rows


def _results(outcome: Outcome) -> FittingTable:
    rows = FittingTable("result", "test accuracy", "size", "differs from Keras by")
    rows.add_row("frozen, trained head", f"{outcome.head_accuracy:.4f}", "", "")
    rows.add_row("fine-tuned, Keras", f"{outcome.accuracy:.4f}", "", "")
    for precision, report in outcome.reports.items():
        name = Path(report.path).name + ("" if precision in report.path else f" ({precision})")
        size = f"{report.size_bytes / 1e6:.2f} MB"
        rows.add_row(name, f"{report.accuracy_file:.4f}", size, f"{report.parity.max_abs:.1e}")
    return rows


def show_search(outcome: SearchOutcome) -> None:
    """Print the best trials, and how to export what was made."""
    console = Console()
    counts = {s: sum(r.status == s for r in outcome.records) for s in ("completed", "stopped", "failed")}
    found = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(table(outcome.records, "max", f"{len(outcome.records)} trials: {found}", most=5))
    best = outcome.best
    console.print(
        f"Best: trial {best.trial}, {best.recipe.replace('_', ' ')}, trains from {best.trains_from}; "
        f"{outcome.objective} {best.score:.4f}, test accuracy {outcome.accuracy:.4f}.",
        highlight=False,
    )
    console.print(f"{outcome.seconds:.0f} s. In {outcome.out}: {', '.join(outcome.files)}", highlight=False)
    typer.echo(f"The whole search on one page: {outcome.out / PAGE}")
    typer.echo(f"""
    kerasft export {outcome.out / "model.keras"} --out model.tflite --labels {outcome.out / "labels.txt"}
    tensorboard --logdir {outcome.out / "tensorboard"}
""")
