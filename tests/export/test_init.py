"""The package loads TensorFlow only when it is used, and its parts import one way."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from kerasft import export

# A file or folder imports only what stands on a later line.
FLOORS = [
    {"on_device"},
    {"tflite", "precision_ladder", "device_readiness"},
    {"draft", "ladder_choice", "ladder_figure", "toolchains"},
    {"conversion", "clients"},
    {"saved_model"},
    {"model"},
    {"tflite_file"},
    {"trainable_report"},
    {"report"},
    {"parity", "text"},
    {"scratch", "figures"},
    {"tables", "errors", "files", "columns", "wordpiece", "precisions"},
]
SOURCES = Path(export.__file__).parent


def test_import_is_light_and_names_resolve():
    code = "import sys, kerasft.export; print('tensorflow' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )
    for name in export.__all__:
        assert getattr(export, name) is not None and name in dir(export)
    with pytest.raises(AttributeError, match="nose"):
        _ = export.nose


def relative_imports(path):
    """(level, first part of the module) of all relative imports of a file."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
    return {
        (n.level, name)
        for n in nodes
        for name in ([n.module.split(".")[0]] if n.module else [a.name for a in n.names])
    }


def test_parts_import_only_what_stands_below_them():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    parts = {p.stem for p in SOURCES.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert set(floor) == parts - {"__init__"}
    for part in floor:
        folder = SOURCES / part
        for path in folder.glob("*.py") if folder.is_dir() else [SOURCES / f"{part}.py"]:
            up = 2 if folder.is_dir() else 1
            for name in {name for level, name in relative_imports(path) if level == up}:
                assert floor[name] > floor[part], f"{path} imports {name}"


@pytest.mark.parametrize(
    "folder", ["clients", "conversion", "model", "on_device", "tflite_file", "toolchains"]
)
def test_inside_a_folder_there_is_no_circle(folder):
    files = [p for p in (SOURCES / folder).glob("*.py") if p.stem != "__init__"]
    graph = {p.stem: {name for level, name in relative_imports(p) if level == 1} for p in files}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)
