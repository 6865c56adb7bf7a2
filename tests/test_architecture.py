"""Imports run one way, private names stay in their seams, files stay small, and each has its tests."""

import ast
import re
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parent.parent

# Files beside the folders that any folder may use.
BASE = ("typing", "arguments", "identity", "tables", "files")
# Places that import nothing of kerasft.
ALONE = ("_keras", *BASE)
# A folder (or a file beside the folders) imports only what stands in its row, which stands above it.
FOLDERS = {
    "_keras": (),
    **dict.fromkeys(BASE, ()),
    "files": ("export",),
    "tables": ("export",),
    "data": (),
    "text": (),
    "report": (),
    "plots": ("export",),
    "backup": ("_keras",),
    "saved_classes": (),
    "stages": ("_keras",),
    "hub": ("_keras", "stages"),
    "freezing": ("_keras", "stages"),
    "learning_rates": ("_keras", "stages", "plots"),
    "retention": ("_keras", "plots", "stages", "freezing", "learning_rates"),
    "unfreezing": ("_keras", "stages", "freezing", "learning_rates"),
    "cache": ("_keras", "stages", "freezing"),
    "probe": ("_keras",),
    "advice": ("_keras", "stages", "probe"),
    "recipes": ("_keras", "stages", "freezing", "learning_rates", "unfreezing", "probe"),
    "search": (
        "_keras", "plots", "stages", "freezing", "learning_rates", "unfreezing", "cache", "probe", "export",
    ),
    "commands": (
        "_keras", "data", "text", "stages", "hub", "freezing", "learning_rates", "backup", "unfreezing",
        "retention", "cache", "probe", "advice", "recipes", "search", "report", "export", "examples",
    ),
    "__main__": ("commands",),
}  # fmt: skip
SEAMS = ("kerasft/_keras/", "kerasft/hub/flatten.py", "export/tflite_file/litert.py")
PUBLIC_FACES = {  # users import from these
    "kerasft.advice": ("Advice", "AtDepth", "AtSize", "advise"),
    "kerasft.data": (
        "ImageData",
        "PixelRule",
        "Split",
        "TextData",
        "load_dataset",
        "load_texts",
        "read_picture",
    ),
    "kerasft.hub": ("HubStage", "load_backbone", "resolve"),
    "kerasft.probe": (
        "FrozenHead",
        "Given",
        "LinearProbe",
        "Link",
        "features_of",
        "fit_probe",
        "head_of",
        "held_out_scores",
        "logme",
        "predictions",
        "rightness",
        "sample_losses",
        "solve_head",
    ),
    "kerasft.recipes": (
        "KINDS",
        "DefaultRecipe",
        "Kind",
        "KindReport",
        "augmented",
        "default",
        "limits_of",
        "look_at_kinds",
        "views_of",
    ),
    "kerasft.text": ("TextRule", "WordPiece", "read_vocabulary"),
}
MOST_FLOORS = 8
MOST_LINES = {"file": 400, "class": 250, "test file": 600}


def sources(*folders):
    return [
        p for folder in folders for p in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in p.parts
    ]


def module_of(path):
    """The name by which a file of kerasft/ is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree):
    """What a file imports of kerasft, anywhere in it: pairs of a module and a name in it, or None."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {(node.module, alias.name) for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "kerasft"}


def is_module(module):
    place = ROOT.joinpath(*module.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imported_modules(tree):
    """Full names of the modules of kerasft that a file imports."""
    found = set()
    for module, name in imports(tree):
        inner = f"{module}.{name}"
        is_part = module in ("kerasft", "kerasft.examples") and name is not None
        found.add(inner if is_part or (name and is_module(inner)) else module)
    return found


def room_of(module):
    """The folder of kerasft/, or the file beside the folders, that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def misplaced(module, tree):
    """Imports of `module` that the table does not allow."""
    room = room_of(module)
    allowed = {room, *FOLDERS[room], *(BASE if room not in ALONE else ())}
    return [name for name in imported_modules(tree) if room_of(name) not in allowed]


def past_the_face(module, tree):
    """Imports from inside a folder that does not hold `module`: they belong through the folder's face."""
    package = module if ROOT.joinpath(*module.split(".")).is_dir() else module.rpartition(".")[0]
    wrong = []
    for name in imported_modules(tree):
        if name.startswith(("kerasft.export", "kerasft.examples")):
            continue
        holder = name.rpartition(".")[0]
        if holder not in ("", "kerasft") and not f"{package}.".startswith(f"{holder}."):
            wrong.append(name)
    return wrong


def floors():
    """How many floors the table has: 1 for a folder that imports nothing, and one more above each."""
    height = {"export": 0, "examples": 0}
    for room, below in FOLDERS.items():
        height[room] = 1 + max((height[name] for name in below), default=0)
    return max(height.values())


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
def test_a_folder_imports_only_folders_below_it(path):
    module, tree = module_of(path), ast.parse(path.read_text())
    if module != "kerasft":
        assert misplaced(module, tree) == []
        assert past_the_face(module, tree) == []
        return
    lazily = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(n, "module", None) or n.names[0].name for n in lazily} == {
        "__future__",
        "importlib",
        "typing",
        "kerasft",  # saved_classes, which loads nothing
    }


def test_every_folder_has_its_row():
    rooms = {room_of(module_of(path)) for path in sources("kerasft")} - {""}
    assert rooms == set(FOLDERS)
    for room, below in FOLDERS.items():
        known = [*list(FOLDERS)[: list(FOLDERS).index(room)], "export", "examples"]
        assert set(below) <= set(known), room
    assert floors() <= MOST_FLOORS


def test_contributing_shows_the_same_table():
    rows = re.findall(r"^\| (`.*?) \| .*? \| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    shown = {}
    for names, below in rows:
        for name in re.findall(r"`([\w/.]+)`", names):
            shown[name.removesuffix("/").removesuffix(".py")] = set(re.findall(r"`(\w+)`", below))
    folders = set(FOLDERS) - {"__main__"}
    assert set(shown) - {"export"} == folders
    for room in folders - {"commands", *BASE}:  # these two rows are written in words
        assert shown[room] == set(FOLDERS[room]), room


def test_files_and_classes_stay_small():
    too_long = []
    for path in sources("kerasft", "export", "examples"):
        text = path.read_text()
        if text.count("\n") > MOST_LINES["file"]:
            too_long.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno >= MOST_LINES["class"]:
                too_long.append(f"{path.relative_to(ROOT)}: {node.name}")
    tests = sources("tests")
    too_long += [str(path) for path in tests if path.read_text().count("\n") > MOST_LINES["test file"]]
    assert too_long == []


def test_no_files_import_each_other_in_a_circle():
    trees = {module_of(path): ast.parse(path.read_text()) for path in sources("kerasft")}
    graph = networkx.DiGraph()
    for module, tree in trees.items():
        inner = trees.keys() & (imported_modules(tree) - {module})
        graph.add_edges_from((module, other) for other in inner if module != "kerasft")
    assert list(networkx.simple_cycles(graph)) == []


def faces():
    return [
        path for path in sources("kerasft") if path.name == "__init__.py" and path.parent != ROOT / "kerasft"
    ]


@pytest.mark.parametrize("path", faces(), ids=module_of)
def test_a_folder_lists_exactly_what_leaves_it(path):
    folder, tree = module_of(path), ast.parse(path.read_text())
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    used = set(PUBLIC_FACES.get(folder, ()))
    for other in [*sources("kerasft", "examples", "benchmarks")]:
        module = module_of(other)
        if module == folder or module.startswith(f"{folder}."):
            continue
        text = other.read_text()
        used |= {name for module, name in imports(ast.parse(text)) if module == folder and name}
        if folder == "kerasft._keras":
            used |= set(re.findall(r"(?<![.\w])_keras\.(\w+)", text))
    assert ast.get_docstring(tree)
    assert sorted(listed) == sorted(used)


@pytest.mark.parametrize(
    "path", sources("kerasft", "export", "examples"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_private_names_stay_in_the_seams(path):
    if str(path.relative_to(ROOT)).startswith(SEAMS):
        return
    tree = ast.parse(path.read_text())
    assert [n for n in private_names(tree) if n not in own_names(tree)] == []


def modules_under_test(folder):
    """The modules that the tests in a folder import, and those that these import."""
    found = set()
    for test in folder.glob("test_*.py"):
        found |= imported_modules(ast.parse(test.read_text()))
    for _ in range(2):
        for module in list(found):
            place = ROOT.joinpath(*module.split("."))
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file():
                    found |= imported_modules(ast.parse(path.read_text()))
    return found


def test_every_source_file_has_its_tests():
    """A file of its name in the folder that mirrors its own, or one there that imports it."""
    missing = []
    for path in sources("kerasft", "export", "examples"):
        parts = path.relative_to(ROOT).parts
        folder = ROOT.joinpath("tests", *(parts[1:-1] if parts[0] == "kerasft" else parts[:-1]))
        if path.name == "__init__.py" and len(parts) > 2:  # a face, which a test above looks at
            continue
        if parts[:2] == ("examples", "notebooks"):  # tests/examples/test_notebooks.py runs each
            continue
        name = "init" if path.name == "__init__.py" else path.stem
        has_own = (folder / f"test_{name}.py").exists() or path.read_text().count("\n") < 2
        if not has_own and module_of(path) not in modules_under_test(folder):
            missing.append(str(path.relative_to(ROOT)))
    assert missing == []


def test_the_rules_find_what_they_forbid():
    bad = ast.parse(
        "from kerasft import commands\nfrom kerasft.hub.flatten import x\nimport keras.src.a\nlayer._nodes"
    )
    assert set(misplaced("kerasft.stages.find", bad)) == {"kerasft.commands", "kerasft.hub.flatten"}
    assert set(past_the_face("kerasft.stages.find", bad)) == {"kerasft.hub.flatten"}
    assert past_the_face("kerasft.hub.load", bad) == []
    assert misplaced("kerasft.commands.main", ast.parse("from kerasft import stages")) == []
    assert set(private_names(bad)) == {"keras.src.a", "_nodes"}
    assert private_names(ast.parse("self._mine, cls._ours, x.public")) == []
