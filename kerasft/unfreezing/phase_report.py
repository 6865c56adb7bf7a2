"""The report on a phase: which stages trained, at which rates, and how far they moved."""

from __future__ import annotations

from dataclasses import dataclass

from kerasft.tables import html_table, plain_table

_HEADER = ("stage", "trained", "rate", "decay", "largest change", "mean change", "steps")


@dataclass(frozen=True)
class StageReport:
    """The report on one stage in one phase.

    Attributes:
        name: The stage.
        trained: Whether it trained.
        learning_rate: Its learning rate at the end of the phase, factors and warm-up included (the largest
            of its weights').
        weight_decay: The share of a weight that decoupled weight decay takes away at each step, at the end
            of the phase (the largest of its weights').
        largest_change: Largest absolute difference of a weight from the phase's beginning.
        mean_change: Mean absolute difference of its weights from the phase's beginning.
        steps: Optimizer steps since it was thawed for the first time.
        mark: "yes" or "no", and how many of its layers and single weights stay frozen at every depth: "yes, 2
            kept frozen"; "kept frozen" if all of it does.
    """

    name: str
    trained: bool
    learning_rate: float
    weight_decay: float
    largest_change: float
    mean_change: float
    steps: int
    mark: str


@dataclass(frozen=True)
class PhaseReport:
    """The report on one phase; `print` and notebooks show a table.

    Attributes:
        index: The phase, from 0.
        depth: Its freeze depth.
        epochs: First and last of its epochs, from 0. A resumed run counts from where it was resumed.
        best_epoch: The epoch whose weights it went back to, or None.
        frozen_weights: How many frozen weights were compared after each epoch, all equal to the bit.
        stages: One report for each stage, from the input on.
    """

    index: int
    depth: int
    epochs: tuple[int, int]
    best_epoch: int | None
    frozen_weights: int
    stages: tuple[StageReport, ...]

    def __str__(self) -> str:
        return f"{self._title}\n{plain_table(_HEADER, self._rows())}"

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._rows(), title=self._title)

    @property
    def _title(self) -> str:
        first, last = self.epochs
        back = "" if self.best_epoch is None else f", back to epoch {self.best_epoch}"
        return f"Phase {self.index}, freeze depth {self.depth}, epochs {first} to {last}{back}"

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for stage in self.stages:
            numbers = (
                f"{stage.learning_rate:.2e}" if stage.trained else "",
                f"{stage.weight_decay:.2e}" if stage.trained else "",
                f"{stage.largest_change:.2e}" if stage.largest_change else "0",
                f"{stage.mean_change:.2e}" if stage.mean_change else "0",
                str(stage.steps),
            )
            rows.append((stage.name, stage.mark, *numbers))
        return rows
