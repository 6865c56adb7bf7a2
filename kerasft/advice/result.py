"""Advice: a recommendation with its reasons, and the numbers that they come from."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kerasft.tables import html_table, plain_table

Recommendation = Literal["extract_features", "fine_tune"]
Confidence = Literal["clear", "likely", "open"]

_SURE = {
    "clear": "the standard errors are clear",
    "likely": "likely, by the standard errors",
    "open": "the standard errors leave it open",
}
_DEPTHS = "A linear probe on what the frozen stages give, on samples that it has not seen"
_SIZES = "The probe before the head by number of samples"


@dataclass(frozen=True)
class AtDepth:
    """A linear probe on what the frozen stages give.

    Attributes:
        depth: The freeze depth.
        stage: The last stage that is frozen.
        features: How many numbers of a sample the probe is given.
        score: Accuracy on samples that a fold's probe has not seen; R² for numbers.
        standard_error: Of the score.
        logme: LogME, a sample's evidence of linear models, in nats: the higher, the better.
    """

    depth: int
    stage: str
    features: int
    score: float
    standard_error: float
    logme: float


@dataclass(frozen=True)
class AtSize:
    """A linear probe on all stages but the head's, of so many samples.

    Attributes:
        samples: Samples that the probe is fitted to and tested on, by cross-validation.
        score: As in `AtDepth`.
        standard_error: Of the score.
        measured: Whether it was measured, or extrapolated from the others.
    """

    samples: int
    score: float
    standard_error: float
    measured: bool = True


@dataclass(frozen=True)
class Advice:
    """Whether to extract features or to fine-tune, and why; `print` shows it.

    Attributes:
        recommendation: "extract_features" (train a head on frozen features) or "fine_tune".
        depth: The freeze depth that goes with it.
        trains_from: The first stage that trains.
        confidence: How far the standard errors bear it out: "clear", "likely" or "open" (they don't decide).
        reasons: Sentences with the numbers.
        measure: What the scores are: "accuracy" or "R²".
        by_depth: A row for each freeze depth.
        curve: Scores by number of samples; the last is extrapolated, if there are any smaller.
        samples: How many samples were used.
        bytes: What their features took.
        notes: What was left out, a sentence each.
    """

    recommendation: Recommendation
    depth: int
    trains_from: str
    confidence: Confidence
    reasons: tuple[str, ...]
    measure: str
    by_depth: tuple[AtDepth, ...]
    curve: tuple[AtSize, ...]
    samples: int
    bytes: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(
            [
                self._advised,
                *(f"- {reason}" for reason in self.reasons),
                "",
                f"{_DEPTHS}:",
                plain_table(*self._depths()),
                "",
                f"{_SIZES}:",
                plain_table(*self._sizes()),
                "",
                self._used,
                *self.notes,
            ]
        )

    def _repr_html_(self) -> str:
        why = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        depths = html_table(*self._depths(), title=_DEPTHS)
        sizes = html_table(*self._sizes(), title=_SIZES, notes=[self._used, *self.notes])
        return f"<p>{html.escape(self._advised)}</p><ul>{why}</ul>{depths}{sizes}"

    @property
    def _advised(self) -> str:
        what = "Extract features" if self.recommendation == "extract_features" else "Fine-tune"
        where = f"freeze depth {self.depth} (trains from {self.trains_from!r})"
        return f"{what} at {where}: {_SURE[self.confidence]}."

    @property
    def _used(self) -> str:
        return f"{self.samples:,} samples, {self.bytes / 1e6:.1f} MB of features."

    def _depths(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                str(r.depth),
                r.stage,
                f"{r.features:,}",
                f"{r.score:.3f}",
                f"{r.standard_error:.3f}",
                f"{r.logme:.3f}",
            ]
            for r in self.by_depth
        ]
        return ["depth", "frozen up to", "features", self.measure, "±", "LogME"], rows

    def _sizes(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                f"{r.samples:,}",
                f"{r.score:.3f}",
                f"{r.standard_error:.3f}",
                "" if r.measured else "extrapolated",
            ]
            for r in self.curve
        ]
        return ["samples", self.measure, "±", ""], rows
