"""Imports run one way, private names stay in two files, and every source file has its test file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A file imports only files that stand before it.
ORDER = [
    "trainer", "stages", "schedule", "phases", "run_state",
    "hub.ops", "hub.pointwise", "hub.function", "hub.graph", "hub.cut", "hub.layer", "hub.blueprint",
    "hub.memory", "hub",
    "freezing", "multipliers", "audit", "unfreezing",
    "record", "samples", "cuts", "order", "passes", "kept", "bridge", "recording", "suffix", "source",
    "cache_report", "prefix",
    "recipes", "trials", "plots", "hparams", "checkpoint", "space", "losses", "objective",
    "search_folder", "sharing",
    "trial_run", "trial_watch", "trial", "search", "ray_worker", "cluster",
    "resume", "lr_finder", "data", "workspace",
    "terminal", "job", "search_job", "export_commands", "cli",
]  # fmt: skip
# the last is for LiteRT alone
SEAMS = ("kerasft/trainer.py", "kerasft/hub/graph.py", "export/tflite_file/litert.py")


def sources(*folders):
    return [
        p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in p.parts
    ]


def module_of(path):
    parts = path.relative_to(ROOT / "kerasft").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree):
    """Full names of the kerasft modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module in ("kerasft", "kerasft.examples"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return {name for name in found if name.split(".")[0] == "kerasft"}


def misplaced(module, tree):
    """Imports of `module` that do not stand before it."""
    wrong = []
    for name in imported_modules(tree):
        target = name.removeprefix("kerasft").removeprefix(".")
        if target in ("export", "") or target.startswith(("export.", "examples")):
            continue
        if target not in ORDER or ORDER.index(target) >= ORDER.index(module):
            wrong.append(name)
    return wrong


def private_names(tree):
    """Private modules of Keras and TensorFlow, and attributes with an underscore on foreign objects."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found += [n for n in names if n.startswith(("keras.src", "tensorflow.python", "tensorflow.core"))]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(node.attr)
    return found


def own_names(tree):
    """Names with an underscore that a file defines itself, as attributes or functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


@pytest.mark.parametrize("path", sources("kerasft"), ids=module_of)
def test_a_file_imports_only_files_above_it(path):
    module, tree = module_of(path), ast.parse(path.read_text())
    if module:
        assert misplaced(module, tree) == []
        return
    lazily = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(n, "module", None) or n.names[0].name for n in lazily} == {
        "__future__",
        "importlib",
        "typing",
    }


def test_export_stands_alone():
    for path in sources("export"):
        assert imported_modules(ast.parse(path.read_text())) == set(), path


@pytest.mark.parametrize(
    "path", sources("kerasft", "export", "examples"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_private_names_stay_in_the_seams(path):
    if str(path.relative_to(ROOT)) in SEAMS:
        return
    tree = ast.parse(path.read_text())
    assert [n for n in private_names(tree) if n not in own_names(tree)] == []


def test_every_source_file_has_its_test_file():
    missing = []
    for path in sources("kerasft", "export", "examples"):
        parts = path.relative_to(ROOT).parts
        folder = parts[1:-1] if parts[0] == "kerasft" else parts[:-1]
        name = "init" if parts[-1] == "__init__.py" else path.stem
        if (
            path.read_text().strip().count("\n")
            and not (ROOT.joinpath("tests", *folder) / f"test_{name}.py").exists()
        ):
            missing.append(str(path.relative_to(ROOT)))
    assert missing == []


def test_the_rules_find_what_they_forbid():
    bad = ast.parse(
        "from kerasft import cli\nfrom kerasft.hub.graph import x\nimport keras.src.a\nlayer._nodes"
    )
    assert set(misplaced("stages", bad)) == {"kerasft.cli", "kerasft.hub.graph"}
    assert set(misplaced("cli", ast.parse("from kerasft import stages"))) == set()
    assert set(private_names(bad)) == {"keras.src.a", "_nodes"}
    assert private_names(ast.parse("self._mine, cls._ours, x.public")) == []
