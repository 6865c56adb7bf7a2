"""The precisions of a model as a table, and the choice among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .files import parse_json, taking_apart
from .report import Quality, Report
from .tables import html_table, plain_table

# name: precision, and what the file takes and gives
VARIANTS = {
    "float32": ("float32", "float"),
    "float16": ("float16", "float"),
    "weight_only": ("weight_only", "float"),
    "dynamic": ("dynamic", "float"),
    "int8": ("int8", "float"),
    "int8_io": ("int8", "int8"),
}


_NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Ladder:
    """The precisions of a model, and the choice among them.

    Attributes:
        reports: What was written, by variant.
        failures: Why other variants were not.
        choice: The variant to take; None if none keeps the limits.
        reason: Why.
        lost: The operations that lose most in int8, if it loses more than is allowed.
        without_metadata: Why variants were written without the metadata that were asked for.
    """

    reports: dict[str, Report]
    failures: dict[str, str]
    choice: str | None
    reason: str
    lost: tuple[str, ...] = ()
    without_metadata: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, ...]]:
        """One row a variant: name, size, latency, pieces, difference from the model, accuracy, its drop."""
        found: list[tuple[str, ...]] = []
        for name, report in self.reports.items():
            quality, speed = report.quality, report.speed
            drop = _NOT_MEASURED if quality is None else _points(quality.drop, quality.interval)
            found.append(
                (
                    ("→ " if name == self.choice else "") + name,
                    _size(report.size_bytes),
                    " / ".join(f"{ms:.3g}" for ms in speed.ms.values()) + " ms",
                    f"{speed.partitions} + {speed.outside}",
                    f"{report.parity.max_relative:.1e}",
                    _NOT_MEASURED if quality is None else f"{100 * quality.accuracy_file:.2f}",
                    drop,
                )
            )
        return found

    def __str__(self) -> str:
        return "\n".join([plain_table(HEADER, self.rows()), *self.remarks()])

    def _repr_html_(self) -> str:
        return html_table(HEADER, self.rows(), notes=self.remarks())

    def remarks(self) -> list[str]:
        """What stands below the table: what is missing and why, and the choice, a line each."""
        left_out = [f"{name} was not exported: {why}" for name, why in self.failures.items()]
        left_out += [f"{name} has no metadata: {why}" for name, why in self.without_metadata.items()]
        return [*left_out, self.reason]

    def to_json(self) -> str:
        """All of it as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Ladder:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is no ladder.
        """
        content = parse_json(text, "The ladder")
        with taking_apart("The ladder"):
            reports = {
                name: Report.from_json(json.dumps(kept)) for name, kept in content.pop("reports").items()
            }
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


PREFERENCES = ("size", "latency", "accuracy")
_NEAR = 1.1  # a size or a time within a tenth of the best is as good
_AS_ACCURATE = 0.001  # so is an accuracy within a tenth of a point


def choose(
    reports: Mapping[str, Report],
    max_drop: float,
    max_bytes: int | None = None,
    max_ms: float | None = None,
    prefer: str = "size",
) -> tuple[str | None, str]:
    """The variant to take under some limits, and why; see `ladder`.

    Raises:
        ValueError: There is no such preference, or accuracy is preferred, and was not measured.
    """
    check_preference(prefer)
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
    not_measured = next((r.not_measured for r in reports.values() if r.quality is None), "")
    unknown = f" Accuracy was not measured: {not_measured or 'no reason is known'}." if not_measured else ""
    if not left:
        return None, f"No variant keeps the limits: {refused}.{unknown}"
    if prefer == "accuracy" and any(report.quality is None for report in left.values()):
        raise ValueError(
            f'prefer="accuracy" needs measured accuracies, but {not_measured or "there are none"}.'
        )
    bytes_of = {name: report.size_bytes for name, report in left.items()}
    ms_of = {name: report.speed.ms["1"] for name, report in left.items()}
    if prefer == "accuracy":
        right = {n: r.quality.accuracy_file for n, r in left.items() if r.quality is not None}
        near = [n for n in left if right[n] >= max(right.values()) - _AS_ACCURATE]
        rule, then = "the most accurate", "smallest"
    elif prefer == "latency":
        near = [n for n in left if ms_of[n] <= _NEAR * min(ms_of.values())]
        rule, then = "the fastest", "smallest"
    else:
        near = [n for n in left if bytes_of[n] <= _NEAR * min(bytes_of.values())]
        rule, then = "the smallest", "fastest"
    choice = min(near, key=lambda name: (ms_of if then == "fastest" else bytes_of)[name])
    why = f"{choice} is the choice: {rule}"
    if len(near) > 1:
        close = {"accuracy": "0.1 points", "latency": "10 % of the time", "size": "10 % of the size"}[prefer]
        why = f"{choice} is the choice: the {then} of {', '.join(near)}, which are within {close} of {rule}"
    why += " that was written" if unknown else " within the limits"
    return choice, why + (f" ({refused})." if refused else ".") + unknown


def check_preference(prefer: str) -> None:
    """Raise ValueError unless there is such a preference."""
    if prefer not in PREFERENCES:
        raise ValueError(f"prefer is one of {list(PREFERENCES)}; received {prefer!r}.")


def reason_of_loss(quality: Quality | None, lost: Sequence[str]) -> str:
    """A sentence on what int8 loses, and at which operations most of it."""
    how = "too much" if quality is None else f"{_points(quality.drop, quality.interval)} points"
    where = f", most of it at {'; '.join(lost[:3])}" if lost else ""
    return f"int8 loses {how}{where}."


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _points(drop: float, interval: tuple[float, float]) -> str:
    return f"{100 * drop:.2f} ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})"
