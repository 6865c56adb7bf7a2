"""What a job trains, and how: the head is solved, then the default recipe or given phases follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasft.commands.settings import FinetuneSettings
from kerasft.commands.task import Task
from kerasft.commands.workspace import Workspace
from kerasft.learning_rates import layerwise_decay, with_lr_multipliers
from kerasft.recipes import DefaultRecipe, default
from kerasft.stages import Stages
from kerasft.unfreezing import UnfreezingSchedule


@dataclass
class Training:
    """What is trained, and how, after the head is solved.

    Attributes:
        recipe: What was measured while the head was solved.
        schedule: The phases.
        optimizer: It decays kernels alone.
        train: The training data, or views of them.
        is_repeated: Whether each pass sees the same samples, so that frozen work can be recorded.
    """

    recipe: DefaultRecipe
    schedule: UnfreezingSchedule
    optimizer: keras.optimizers.Optimizer
    train: tf.data.Dataset

    @property
    def measured(self) -> list[str]:
        """What was measured, in words."""
        return self.recipe.measured.sentences()

    @property
    def is_repeated(self) -> bool:
        return not self.recipe.kinds and any(self.recipe.stages.depth(phase.depth) for phase in self.schedule)


def prepared(
    stages: Stages,
    task: Task,
    settings: FinetuneSettings,
    work: Workspace,
    weights: dict[int, float] | None,
) -> Training:
    """Solve the head, now or before the run was killed; then the default recipe, or the phases given."""
    given = settings.schedule
    if given is None and len(settings.epochs) > 1:
        given = task.schedule(stages)
    epochs = sum(settings.epochs)
    if given is not None:
        given.check(stages, epochs)
    path = work.state / "recipe.npz"
    if path.exists():
        next(iter(task.train))  # each pass has an order of its own, and training has the second one
    asked: dict[str, Any] = {"learning_rate": settings.learning_rate, "layer_decay": settings.decay}
    recipe = default(
        stages,
        task.train,
        epochs=epochs,
        views=None if given is None else [],
        limits=task.limits,
        class_weight=weights,
        batch_norm=settings.batch_norm,
        seed=settings.seed,
        kept=path,
        **{name: value for name, value in asked.items() if value is not None},
    )
    if given is None:
        return Training(recipe, recipe.schedule, recipe.optimizer, recipe.train)
    rate = task.phase_rate if settings.learning_rate is None else settings.learning_rate
    decay = task.phase_decay if settings.decay is None else settings.decay
    optimizer = with_lr_multipliers(
        keras.optimizers.AdamW(rate),
        layerwise_decay(stages, decay),
        decay_vectors=False,
    )
    return Training(recipe, given, optimizer, task.train)
