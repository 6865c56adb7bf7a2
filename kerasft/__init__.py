"""kerasft: fine-tune a pre-trained TF Hub backbone inside your own Keras `model.fit`.

Names are imported when they are first used, so that `import kerasft` loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kerasft import saved_classes

if TYPE_CHECKING:
    from kerasft import export, hub, probe, recipes
    from kerasft.advice import Advice, advise
    from kerasft.backup import BackupAndRestore
    from kerasft.cache import CacheReport, PrefixCache, PrefixReport, inspect_prefix
    from kerasft.freezing import freeze, freeze_depth, frozen, unfreeze
    from kerasft.learning_rates import (
        LearningRateCurve,
        discriminative,
        find_learning_rate,
        layerwise_decay,
        resolve_multipliers,
        with_lr_multipliers,
    )
    from kerasft.retention import (
        DistillationLoss,
        InterpolationSweep,
        Retention,
        interpolate,
        interpolation_sweep,
        reinitialize,
        replay,
        with_l2_sp,
        with_original_head,
        with_original_scores,
    )
    from kerasft.search import ExportedAccuracy, FreezeDepthSearch, TrialRecord, repair_search, search_on_ray
    from kerasft.stages import Stage, Stages, find_stages
    from kerasft.unfreezing import GradualUnfreezing, Phase, UnfreezingSchedule

_MODULES = {
    "kerasft.advice": ("Advice", "advise"),
    "kerasft.stages": ("Stage", "Stages", "find_stages"),
    "kerasft.unfreezing": ("GradualUnfreezing", "Phase", "UnfreezingSchedule"),
    "kerasft.freezing": ("freeze", "freeze_depth", "frozen", "unfreeze"),
    "kerasft.learning_rates": (
        "LearningRateCurve",
        "discriminative",
        "find_learning_rate",
        "layerwise_decay",
        "resolve_multipliers",
        "with_lr_multipliers",
    ),
    "kerasft.backup": ("BackupAndRestore",),
    "kerasft.cache": ("CacheReport", "PrefixCache", "PrefixReport", "inspect_prefix"),
    "kerasft.retention": (
        "DistillationLoss",
        "InterpolationSweep",
        "Retention",
        "interpolate",
        "interpolation_sweep",
        "reinitialize",
        "replay",
        "with_l2_sp",
        "with_original_head",
        "with_original_scores",
    ),
    "kerasft.search": (
        "ExportedAccuracy",
        "FreezeDepthSearch",
        "TrialRecord",
        "repair_search",
        "search_on_ray",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
_SUBMODULES = ("export", "hub", "probe", "recipes")

__all__ = [
    "Advice",
    "BackupAndRestore",
    "CacheReport",
    "DistillationLoss",
    "ExportedAccuracy",
    "FreezeDepthSearch",
    "GradualUnfreezing",
    "InterpolationSweep",
    "LearningRateCurve",
    "Phase",
    "PrefixCache",
    "PrefixReport",
    "Retention",
    "Stage",
    "Stages",
    "TrialRecord",
    "UnfreezingSchedule",
    "__version__",
    "advise",
    "discriminative",
    "export",
    "find_learning_rate",
    "find_stages",
    "freeze",
    "freeze_depth",
    "frozen",
    "hub",
    "inspect_prefix",
    "interpolate",
    "interpolation_sweep",
    "layerwise_decay",
    "probe",
    "recipes",
    "reinitialize",
    "repair_search",
    "replay",
    "resolve_multipliers",
    "search_on_ray",
    "unfreeze",
    "with_l2_sp",
    "with_lr_multipliers",
    "with_original_head",
    "with_original_scores",
]

saved_classes.register()


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"kerasft.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("kerasft")
    else:
        raise AttributeError(f"module 'kerasft' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
