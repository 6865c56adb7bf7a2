"""The pages for app developers quote what `client_code` writes for the file of the first of them."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "docs" / "how-to"
FILES = {
    "client-kotlin.md": ("kotlin", "Classifier.kt"),
    "client-swift.md": ("swift", "Classifier.swift"),
    "client-cpp.md": ("cpp", "classifier.h"),
    "client-javascript.md": ("js", "classifier.js"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder after the program on the first page."""
    folder = tmp_path_factory.mktemp("written")
    (code,) = re.findall(r"^```python\n(.*?)^```$", (PAGES / "client-code.md").read_text(), re.S | re.M)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "client-code.md", "exec"), {"__name__": "__main__"})
    return folder


@pytest.mark.process
@pytest.mark.parametrize("page", FILES)
def test_a_page_quotes_the_text_of_its_language(written, page):
    fence, name = FILES[page]
    quoted, *_ = re.findall(rf"^```{fence}\n(.*?)^```$", (PAGES / page).read_text(), re.S | re.M)
    assert quoted == (written / name).read_text(encoding="utf-8")
