"""Export Keras models to SavedModel and TFLite, verified before the file gets its name.

This package stands alone: it imports nothing of the rest of kerasft, and loads TensorFlow when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import ExportError, Parity, Report, TensorInfo
    from .saved_model import to_saved_model
    from .tflite import PRECISIONS, to_tflite

_HOMES = {
    "ExportError": "contract",
    "PRECISIONS": "tflite",
    "Parity": "contract",
    "Report": "contract",
    "TensorInfo": "contract",
    "to_saved_model": "saved_model",
    "to_tflite": "tflite",
}

__all__ = ["ExportError", "PRECISIONS", "Parity", "Report", "TensorInfo", "to_saved_model", "to_tflite"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
