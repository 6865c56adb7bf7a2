"""The classes of kerasft that saved models name, known to Keras before they are loaded.

`keras.models.load_model` finds them after `import kerasft` alone, whichever of the two is imported first.
Here are stand-ins for them. They load the module of a class when Keras makes an instance of it, so that
`import kerasft` loads neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# The module of each class, by the name under which Keras registers it.
_MODULES = {
    "kerasft>DistillationLoss": "kerasft.retention",
    "kerasft>HubStage": "kerasft.hub",
    "kerasft>LrMultipliers": "kerasft._keras.optimizer.lr_multipliers",
    "kerasft>ScaledLrMultipliers": "kerasft._keras.optimizer.variants",
}


def register() -> None:
    """Register the stand-ins: now if Keras is loaded, or else as soon as it is."""
    saving = getattr(sys.modules.get("keras"), "saving", None)
    if saving is None:
        sys.meta_path.insert(0, _AfterKeras())
        return
    known = saving.get_custom_objects()
    for registered, module in _MODULES.items():
        if registered not in known:  # a class that is loaded has registered itself
            known[registered] = _stand_in(module, registered.partition(">")[2])


def _stand_in(module: str, name: str) -> type:
    def from_config(cls: type, config: dict[str, Any]) -> Any:
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": classmethod(from_config), "__module__": module})


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras where Python would, with a loader that registers the stand-ins at its end."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(self, spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Keras's own loader, and what comes after it."""

    def __init__(self, finder: _AfterKeras, loader: importlib.abc.Loader) -> None:
        self._finder, self._loader = finder, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        register()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
