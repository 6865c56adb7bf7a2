"""What MkDocs needs to know: from where sources are imported, and where docstrings have examples."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

ROOT = Path(__file__).parent.parent


@functools.cache
def _sources() -> tempfile.TemporaryDirectory[str]:
    """A folder with the sources as they are imported: export/ is a part of kerasft/."""
    folder = tempfile.TemporaryDirectory(prefix="kerasft-docs-")
    package = Path(folder.name, "kerasft")
    shutil.copytree(ROOT / "kerasft", package, ignore=shutil.ignore_patterns("export", "__pycache__"))
    shutil.copytree(ROOT / "export", package / "export", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@event_priority(100)  # before mkdocstrings reads its options
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let mkdocstrings read the sources, and nothing that is installed."""
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_sources().name]
    return config


class Examples(griffe.Extension):
    """The section `Example:` of a docstring is what griffe calls `Examples:`: its code is shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
