"""The quantizer that is installed, under its new or its old name, as its own documents say."""

import importlib
import importlib.util

NAMES = {"litert_quantizer": "litert-quantizer", "ai_edge_quantizer": "ai-edge-quantizer"}


def quantizer_name():
    """What the package that is installed is called, the new name if both are."""
    return next(name for module, name in NAMES.items() if importlib.util.find_spec(module))


def quantizer_part(part):
    """A module of the package that is installed."""
    (module,) = (module for module, name in NAMES.items() if name == quantizer_name())
    return importlib.import_module(f"{module}.{part}")
