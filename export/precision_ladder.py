"""All precisions of a model at once, side by side, and the one to take."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from .conversion import Variants, converter_process, saved
from .files import check_target, replacing
from .model import Subject
from .report import ExportError, Report
from .tflite import Draft, finisher
from .tflite_file import losses

logger = logging.getLogger(__name__)

# name: precision, and what the file takes and gives
VARIANTS = {
    "float32": ("float32", "float"),
    "float16": ("float16", "float"),
    "weight_only": ("weight_only", "float"),
    "dynamic": ("dynamic", "float"),
    "int8": ("int8", "float"),
    "int8_io": ("int8", "int8"),
}


@dataclass(frozen=True)
class Ladder:
    """The precisions of a model, and the choice among them.

    Attributes:
        reports: What was written, by variant.
        failures: Why other variants were not.
        choice: The variant to take; None if none keeps the limits.
        reason: Why.
        lost: The operations that lose most in int8, if it loses more than is allowed.
    """

    reports: dict[str, Report]
    failures: dict[str, str]
    choice: str | None
    reason: str
    lost: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, ...]]:
        """One row a variant: name, size, latency, pieces, difference from the model, accuracy, its drop."""
        found: list[tuple[str, ...]] = []
        for name, report in self.reports.items():
            quality, speed = report.quality, report.speed
            drop = "" if quality is None else _points(quality.drop, quality.interval)
            found.append(
                (
                    ("→ " if name == self.choice else "") + name,
                    _size(report.size_bytes),
                    " / ".join(f"{ms:.3g}" for ms in speed.ms.values()) + " ms",
                    f"{speed.partitions} + {speed.outside}",
                    f"{report.parity.max_relative:.1e}",
                    "" if quality is None else f"{100 * quality.accuracy_file:.2f}",
                    drop,
                )
            )
        return found

    def __str__(self) -> str:
        table = [HEADER, *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in table]
        lines += [f"{name} was not exported: {why}" for name, why in self.failures.items()]
        return "\n".join([*lines, self.reason])

    def to_json(self) -> str:
        """All of it as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Ladder:
        """The inverse of `to_json`."""
        content = json.loads(text)
        reports = {name: Report.from_json(json.dumps(said)) for name, said in content.pop("reports").items()}
        return cls(**{**content, "reports": reports, "lost": tuple(content["lost"])})


HEADER = (
    "variant",
    "size",
    "1 / 2 threads",
    "XNNPACK + other",
    "differs by",
    "accuracy",
    "points lost (95 %)",
)


def ladder(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    holdout: Any = None,
    representative_data: Any = None,
    variants: Sequence[str] | None = None,
    max_drop: float = 0.01,
    max_bytes: int | None = None,
    max_ms: float | None = None,
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    normalization: tuple[Any, Any] | None = None,
    metadata: bool = False,
    batch: int | None = 1,
    overwrite: bool = False,
) -> Ladder:
    """Export a model at every precision, measure all files on the same data, and choose one.

    The model is converted once, and the holdout read once. Written into `directory` are `NAME.tflite` for
    each variant, `ladder.json`, and `ladder.png` (with `kerasft[plots]`): accuracy by size, with latency.

    The choice is the smallest file within the limits; of files within 5 % of its size, the fastest. One that
    takes integers (`int8_io`) is only chosen if no other is left.

    Args:
        model: A built Functional or Sequential model.
        directory: A folder, made if it is missing.
        holdout: As for `to_tflite`; without labels there is no accuracy, and `max_drop` is not looked at.
        representative_data: As for `to_tflite`; without it int8 is left out, which is said.
        variants: Names out of VARIANTS; all by default.
        max_drop: Largest loss of accuracy, in 0…1.
        max_bytes: Largest file, in bytes.
        max_ms: Longest time of a sample on this machine, on one thread, in milliseconds.
        labels, input_range, normalization, metadata, batch: As for `to_tflite`.
        overwrite: Replace existing files.

    Returns:
        Reports, the choice, and what int8 loses by if it loses too much. `print` shows it as a table.

    Raises:
        TypeError, ValueError: An argument is wrong.
        FileExistsError, OSError: A file can't be written.
        ExportError: No variant could be written.

    Example:
        ```python
        found = kerasft.export.ladder(model, "models", holdout=test, representative_data=train, max_ms=20)
        print(found)
        shutil.copy(f"models/{found.choice}.tflite", "app/assets/")
        ```
    """
    folder = Path(directory)
    names = list(VARIANTS) if variants is None else list(variants)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ValueError(f"There are no variants {unknown}; there are {list(VARIANTS)}.")
    if not names:
        raise ValueError(f"variants is empty; there are {list(VARIANTS)}.")
    if not folder.is_dir():
        check_target(folder, overwrite=False)
    for name in [*(f"{n}.tflite" for n in names), "ladder.json", "ladder.png"]:
        if folder.is_dir():
            check_target(folder / name, overwrite=overwrite)
    converter_process()  # it begins while the model is looked at
    subject = Subject.of(
        model, batch=batch, labels=labels, input_range=input_range, normalization=normalization,
        holdout=holdout, representative_data=representative_data,
    )  # fmt: skip
    finish = finisher(subject, metadata, None)
    drafts: dict[str, Draft] = {}
    failures: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(saved(subject.model, batch))
        made = Variants(source, subject.calibration, subject.samples[0])
        files = contextlib.ExitStack()
        stack.enter_context(files)
        for name in names:
            precision, io = VARIANTS[name]
            if precision == "int8" and subject.calibration is None:
                failures[name] = "int8 needs representative_data."
                continue
            try:  # outside the block: what is refused in it must not get its name
                with contextlib.ExitStack() as attempt:
                    partial = attempt.enter_context(replacing(folder / f"{name}.tflite", overwrite=overwrite))
                    content, maker = made.make(precision, io)
                    contents[name] = finish(content)
                    drafts[name] = Draft.checked(contents[name], precision, io, maker, subject, partial, None)
                    files.push(attempt.pop_all())
            except ExportError as error:
                failures[name] = str(error)
        if not drafts:
            raise ExportError(f"No variant could be written: {failures}")
        qualities = subject.qualities({name: draft.artifact for name, draft in drafts.items()})
        reports = {
            name: draft.report(folder / f"{name}.tflite", subject, qualities.get(name), metadata)
            for name, draft in drafts.items()
        }
        choice, reason = choose(reports, max_drop, max_bytes, max_ms)
        lost: tuple[str, ...] = ()
        if int8 := next((name for name in ("int8", "int8_io") if name in contents), None):
            measured = qualities.get(int8)
            if int8 in failures or (measured is not None and measured.drop > max_drop):
                lost = tuple(map(str, losses(made.float32, contents[int8], subject.samples[:4])))
                how = (
                    "too much" if measured is None else f"{_points(measured.drop, measured.interval)} points"
                )
                where = f", most of it at {'; '.join(lost[:3])}" if lost else ""
                reason += f" int8 loses {how}{where}."
        drafts.clear()  # Windows renames no file that is open
    found = Ladder(reports, failures, choice, reason, lost)
    with replacing(folder / "ladder.json", overwrite=overwrite) as partial:
        partial.write_text(found.to_json())
    _draw(found, folder / "ladder.png", max_drop, overwrite)
    return found


def choose(
    reports: Mapping[str, Report], max_drop: float, max_bytes: int | None = None, max_ms: float | None = None
) -> tuple[str | None, str]:
    """The variant to take under some limits, and why; see `ladder`."""
    against: dict[str, str] = {}
    for name, report in reports.items():
        quality, ms = report.quality, report.speed.ms["1"]
        if quality is not None and quality.drop > max_drop:
            against[name] = f"loses {100 * quality.drop:.1f} points"
        elif max_bytes is not None and report.size_bytes > max_bytes:
            against[name] = f"has {report.size_bytes:,} bytes"
        elif max_ms is not None and ms > max_ms:
            against[name] = f"takes {ms:.1f} ms"
    left = {name: report for name, report in reports.items() if name not in against}
    left = {n: r for n, r in left.items() if r.io == "float"} or left
    refused = "; ".join(f"{name} {why}" for name, why in against.items())
    if not left:
        return None, f"No variant keeps the limits: {refused}."
    smallest = min(report.size_bytes for report in left.values())
    near = {n: r for n, r in left.items() if r.size_bytes <= 1.05 * smallest}
    choice = min(near, key=lambda name: near[name].speed.ms["1"])
    why = f"{choice} is the choice: the smallest within the limits"
    why += "" if len(near) == 1 else f", and the fastest of {', '.join(near)}"
    return choice, why + (f" ({refused})." if refused else ".")


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _points(drop: float, interval: tuple[float, float]) -> str:
    return f"{100 * drop:.2f} ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def _draw(found: Ladder, path: Path, max_drop: float, overwrite: bool) -> None:
    """Accuracy against size, with the files that nothing beats in both joined by a line."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning('%s was left out: pip install "kerasft[plots]" for it.', path.name)
        return
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    points = []
    for i, (name, report) in enumerate(found.reports.items()):
        quality, size, ms = report.quality, report.size_bytes / 1e6, report.speed.ms["1"]
        value = ms if quality is None else 100 * quality.accuracy_file
        points.append((size, value))
        hollow = report.io != "float"  # it lies on the file with float inputs
        axes.scatter(
            size, value, s=130 if hollow else 60, facecolor="none" if hollow else f"C{i}", edgecolor=f"C{i}",
            label=f"{name}, {ms:.3g} ms" + (" – the choice" if name == found.choice else ""), zorder=3,
        )  # fmt: skip
    measured = next(iter(found.reports.values())).quality
    sign = 1 if measured is not None else -1
    better = {p: [q for q in points if q != p and q[0] <= p[0] and sign * (q[1] - p[1]) >= 0] for p in points}
    best = [p for p in points if not better[p]]
    axes.plot(*zip(*sorted(set(best)), strict=True), color="#0a6ebd", linewidth=1, alpha=0.5, zorder=2)
    if measured is not None:
        floor = 100 * (measured.accuracy_model - max_drop)
        axes.axhline(floor, color="#bb4444", linestyle="--", linewidth=0.8)
        axes.annotate(
            f"max_drop {max_drop:g}", (0.99, floor), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8, color="#bb4444",
        )  # fmt: skip
    axes.set(xlabel="size, MB", ylabel="latency, ms" if measured is None else "accuracy on the holdout, %")
    axes.set_xlim(0, 1.1 * max(size for size, _ in points))
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    with replacing(path, overwrite=overwrite) as partial:
        figure.savefig(partial, dpi=110, format="png")
