"""The Python code of README and of docs/ runs as it stands there, and prints what is shown below it."""

import re
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
AFTER_COMMANDS = [ROOT / "docs/tutorials/folder-to-phone.md"]  # tests/test_docs.py runs their code after them
INLINE = re.compile(r"print\(.*\)  # (.*)")
NUMBER = re.compile(r"\d[\d,]*(\.\d+)?(e[+-]\d+)?")


def blocks(page):
    """The Python blocks of a page, each with the text block that follows, which is what it prints."""
    return re.findall(
        r"^```python\n(.*?)^```$(?:\n+(?:prints[^\n]*\n\n)?```text\n(.*?)^```$)?",
        page.read_text(),
        re.DOTALL | re.MULTILINE,
    )


def programs(page):
    """The blocks of a page, each a program of its own; those of README are one."""
    found = blocks(page)
    if page != README:
        return found
    printed = [text or "\n".join(INLINE.findall(code)) for code, text in found]
    return [("\n".join(code for code, _ in found), "\n".join(printed))]


def shape(text):
    """A printed text without its numbers and the width of its columns, which vary from machine to machine."""
    return [" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines() if line.strip()]


CODE = [
    pytest.param(page, code, printed, id=f"{page.relative_to(ROOT).with_suffix('')}-{number}")
    for page in PAGES
    if page not in AFTER_COMMANDS
    for number, (code, printed) in enumerate(programs(page))
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code", "printed"), CODE)
def test_code_runs(page, code, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session()  # names of layers are numbered from the beginning, as in a program of its own
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    for expected in INLINE.findall(code):
        assert expected in said
    if printed:
        assert shape(said) == shape(printed)


def test_there_is_code_to_run():
    """README's two examples, and in each tutorial and how-to page code or commands."""
    assert len(blocks(README)) == 2
    guides = [page for page in PAGES if page.parent.name in ("tutorials", "how-to")]
    assert len(guides) > 20
    assert [
        page.name for page in guides if not re.search(r"^```(python|bash)?$", page.read_text(), re.M)
    ] == []


def test_the_two_commands_are_named():
    commands = re.findall(r"^make \w+$", README.read_text(), re.MULTILINE)
    assert commands == ["make quickstart", "make test"]


def test_a_text_is_compared_without_its_numbers():
    assert shape("a   1.5 of 12,000\n\nb 3e-06 s") == ["a # of #", "b # s"]
    assert shape("rate 0.1") != shape("rates 0.1")
