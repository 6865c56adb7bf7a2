"""An export's report in words, for the terminal."""

from __future__ import annotations

from kerasft.export import Ladder, Readiness, Report
from kerasft.export.ladder_choice import HEADER
from kerasft.export.report import TensorInfo
from kerasft.tables import FittingTable


def summary(report: Report) -> str:
    """A sentence on what was written."""
    kind = report.precision if report.io == "float" else f"{report.precision} with {report.io} in and out"
    return f"{report.path}: {kind}, {_bytes(report.size_bytes)}, held against the model in LiteRT."


def details(report: Report) -> FittingTable:
    """What the file takes and gives, and what was measured on it."""
    rows = FittingTable("", "", box=None, show_header=False)
    pixels = report.input_range
    within = "" if pixels is None else f", {pixels[0]:g} to {pixels[1]:g}"
    rows.add_row("takes", "; ".join(map(_tensor, report.inputs)) + within)
    rows.add_row("gives", "; ".join(map(_tensor, report.outputs)))
    rows.add_row(
        "differs",
        f"by at most {report.parity.max_abs:.1e} from Keras on {report.parity.samples:,} inputs",
    )
    if (quality := report.quality) is not None:
        low, high = (100 * bound for bound in quality.interval)
        rows.add_row(
            "accuracy",
            f"{quality.accuracy_file:.4f} on {quality.samples:,} images, Keras {quality.accuracy_model:.4f}; "
            f"{100 * quality.drop:.2f} points lost (95 %: {low:.2f} to {high:.2f})",
        )
    elif report.not_measured:
        rows.add_row("accuracy", f"not measured: {report.not_measured}")
    ms = report.speed.ms
    rows.add_row("latency", f"{ms['1']:.2f} ms on this machine with one thread, {ms['2']:.2f} ms with two")
    rows.add_row("rescaling", report.preprocessing)
    if report.labels is not None:
        shown = ", ".join(report.labels[:3])
        rows.add_row("labels", f"{len(report.labels)}: {shown}{', …' if len(report.labels) > 3 else ''}")
    if report.metadata:
        rows.add_row("metadata", "for MediaPipe Tasks")
    return rows


def comparison(found: Ladder) -> FittingTable:
    """A row for each file of a ladder."""
    rows = FittingTable(*HEADER)
    for row in found.rows():
        rows.add_row(*row)
    return rows


def refusals(found: Readiness) -> FittingTable:
    """A row for each accelerator, with what it refuses of a file."""
    rows = FittingTable(*found.HEADER)
    for *row, lines in found.rows():
        rows.add_row(*row, "\n".join(lines) or "–")
    return rows


def _tensor(tensor: TensorInfo) -> str:
    axes = " × ".join("any" if n == -1 else str(n) for n in tensor.shape)
    return f"{tensor.name}: {tensor.dtype}, {axes}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
