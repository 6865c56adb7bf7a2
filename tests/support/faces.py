"""What a folder's `__init__` lets out of it, against what is imported of it elsewhere."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported_from_outside(folder: str) -> set[str]:
    """Names that files outside a folder of export/ import from it, all from its face.

    A module of the folder that is imported past the face appears as `MODULE.NAME`.
    """
    found = set()
    for package in ("export", "kerasft", "benchmarks", "examples"):
        for path in (ROOT / package).rglob("*.py"):
            if folder in path.relative_to(ROOT).parts[1:-1]:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or not node.module:
                    continue
                parts = node.module.removeprefix("kerasft.export.").split(".")
                if parts[0] == folder and (node.level or node.module.startswith("kerasft.export.")):
                    found |= {".".join([*parts[1:], alias.name]) for alias in node.names}
    return found


def loaded_by(module: str) -> set[str]:
    """Which of the large libraries an import of a module loads."""
    code = f"import sys, {module}; print(*{{'tensorflow', 'keras', 'ai_edge_litert'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())
