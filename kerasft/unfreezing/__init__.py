"""Gradual unfreezing inside one `fit`: a schedule of freeze depths, and the callback that walks it.

A schedule is data (phases); the clock that says which phase runs is a pure state machine; the callback is
timing around both, and its state is saved with the optimizer's. The usual schedules have one builder each
(`recipes`), for users, the search and the command line alike.
"""

from kerasft.unfreezing.callback import GradualUnfreezing
from kerasft.unfreezing.phase import Phase
from kerasft.unfreezing.recipes import RECIPES, Recipe, equal_parts
from kerasft.unfreezing.schedule import UnfreezingSchedule, schedule_of

__all__ = [
    "RECIPES",
    "GradualUnfreezing",
    "Phase",
    "Recipe",
    "UnfreezingSchedule",
    "equal_parts",
    "schedule_of",
]
