"""Export Keras models to SavedModel and TFLite, verified before the file gets its name.

This package stands alone: it imports nothing of the rest of kerasft, and loads TensorFlow when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clients import PackError, ScoreCalibration, Verification, add_metadata, to_pack, to_web, verify_pack
    from .device_readiness import readiness
    from .errors import ExportError
    from .ladder_choice import Ladder
    from .on_device import load_head, to_trainable_tflite
    from .parity import Parity
    from .precision_ladder import ladder
    from .precisions import IO, PRECISIONS
    from .report import Quality, Report, Speed, TensorInfo, check_labels
    from .saved_model import to_saved_model
    from .text import Text
    from .tflite import to_tflite
    from .tflite_file import Evidence, Readiness, Refusal
    from .toolchains import (
        ACCELERATORS,
        EthosUBuild,
        MicroRun,
        compile_for_ethos_u,
        run_on_micro,
        to_c_array,
    )
    from .trainable_report import TrainableReport, WeightInfo

_HOMES = {
    "ACCELERATORS": "toolchains",
    "EthosUBuild": "toolchains",
    "Evidence": "tflite_file",
    "ExportError": "errors",
    "IO": "precisions",
    "Ladder": "ladder_choice",
    "MicroRun": "toolchains",
    "PRECISIONS": "precisions",
    "PackError": "clients",
    "Parity": "parity",
    "Quality": "report",
    "Readiness": "tflite_file",
    "Refusal": "tflite_file",
    "Report": "report",
    "ScoreCalibration": "clients",
    "Speed": "report",
    "TensorInfo": "report",
    "Text": "text",
    "TrainableReport": "trainable_report",
    "Verification": "clients",
    "WeightInfo": "trainable_report",
    "add_metadata": "clients",
    "check_labels": "report",
    "compile_for_ethos_u": "toolchains",
    "ladder": "precision_ladder",
    "load_head": "on_device",
    "readiness": "device_readiness",
    "run_on_micro": "toolchains",
    "to_c_array": "toolchains",
    "to_pack": "clients",
    "to_saved_model": "saved_model",
    "to_tflite": "tflite",
    "to_trainable_tflite": "on_device",
    "to_web": "clients",
    "verify_pack": "clients",
}

__all__ = [
    "ACCELERATORS",
    "IO",
    "PRECISIONS",
    "EthosUBuild",
    "Evidence",
    "ExportError",
    "Ladder",
    "MicroRun",
    "PackError",
    "Parity",
    "Quality",
    "Readiness",
    "Refusal",
    "Report",
    "ScoreCalibration",
    "Speed",
    "TensorInfo",
    "Text",
    "TrainableReport",
    "Verification",
    "WeightInfo",
    "add_metadata",
    "check_labels",
    "compile_for_ethos_u",
    "ladder",
    "load_head",
    "readiness",
    "run_on_micro",
    "to_c_array",
    "to_pack",
    "to_saved_model",
    "to_tflite",
    "to_trainable_tflite",
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
