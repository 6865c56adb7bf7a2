"""The Python code of README and of docs/ runs as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


CODE = [
    pytest.param(page, code, id=f"{page.stem}-{number}" if page != README else str(number))
    for page in PAGES
    for number, code in enumerate(blocks(page))
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), CODE)
def test_code_runs(page, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    for expected in re.findall(r"print\(.*\)  # (.*)", code):
        assert expected in said


def test_there_is_code_to_run():
    assert len(blocks(README)) >= 2
    assert len(CODE) > len(blocks(README))


def test_the_two_commands_are_named():
    commands = re.findall(r"^make \w+$", README.read_text(), re.MULTILINE)
    assert commands == ["make quickstart", "make test"]
