"""Export Keras models to SavedModel and TFLite, verified before the file gets its name.

This package stands alone: it imports nothing of the rest of kerasft, and loads TensorFlow when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .browser import to_web
    from .contract import ExportError, Parity, Quality, Report, Speed, TensorInfo
    from .delegates import Readiness, Refusal, readiness
    from .metadata import ScoreCalibration, add_metadata
    from .pack import to_pack
    from .precision import IO, PRECISIONS
    from .precision_ladder import Ladder, ladder
    from .saved_model import to_saved_model
    from .tflite import to_tflite
    from .verify import PackError, Verification, verify_pack

_HOMES = {
    "ExportError": "contract",
    "IO": "precision",
    "Ladder": "precision_ladder",
    "PRECISIONS": "precision",
    "PackError": "verify",
    "Parity": "contract",
    "Quality": "contract",
    "Readiness": "delegates",
    "Refusal": "delegates",
    "Report": "contract",
    "ScoreCalibration": "metadata",
    "Speed": "contract",
    "TensorInfo": "contract",
    "Verification": "verify",
    "add_metadata": "metadata",
    "ladder": "precision_ladder",
    "readiness": "delegates",
    "to_pack": "pack",
    "to_saved_model": "saved_model",
    "to_tflite": "tflite",
    "to_web": "browser",
    "verify_pack": "verify",
}

__all__ = [
    "IO",
    "PRECISIONS",
    "ExportError",
    "Ladder",
    "PackError",
    "Parity",
    "Quality",
    "Readiness",
    "Refusal",
    "Report",
    "ScoreCalibration",
    "Speed",
    "TensorInfo",
    "Verification",
    "add_metadata",
    "ladder",
    "readiness",
    "to_pack",
    "to_saved_model",
    "to_tflite",
    "to_web",
    "verify_pack",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
