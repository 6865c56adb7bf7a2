"""The site: built without a warning, complete, read without a network, and short enough to be read."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import unicodedata
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pictures import write_classes
from typer.main import get_command
from web_page import chromium, served

import kerasft
from kerasft.commands.main import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BESIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")]
PAGES = [*BESIDE, *sorted(DOCS.rglob("*.md"))]
PUBLIC_FACES = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["PUBLIC_FACES"]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    before = os.times()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    spent = os.times()
    assert spent.children_user - before.children_user < 60, "seconds of a processor"
    return folder


def public_names():
    """Every name that users import, as they write it."""
    modules = {"export", "hub", "probe", "recipes", "__version__"}
    assert modules < set(kerasft.__all__)
    yield from (f"kerasft.{name}" for name in set(kerasft.__all__) - modules)
    yield from (f"kerasft.export.{name}" for name in kerasft.export.__all__)
    yield from (f"{face}.{name}" for face, names in PUBLIC_FACES.items() for name in names)


def test_every_public_name_stands_in_the_reference(site):
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    entries = [line.split() for line in zlib.decompress(packed).decode().splitlines()]
    pages = {name: page for name, _, _, page, *_ in entries}
    names = set(public_names())
    assert len(names) > 100
    assert sorted(names - set(pages)) == []
    assert {pages[name].split("/")[0] for name in names} == {"reference"}


class Loads(HTMLParser):
    """What a page loads by itself: scripts, styles, pictures, frames; and no link that a reader follows."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given["href"])
        elif given.get(LOADING.get(tag)):
            self.found.append(given[LOADING[tag]])


def test_nothing_comes_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    loaded = [(page.name, address) for page in pages for address in Loads(page).found]
    assert len(pages) > 40 and len(loaded) > len(pages)
    assert [found for found in loaded if re.match(r"(https?:)?//", found[1])] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert len(styles) > 2
    assert [found for style in styles for found in re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", style)] == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)], ids=["phone", "desk"])
def test_pages_ask_no_other_machine_and_fit_the_screen(site, width, height):
    with served(site) as address, chromium() as browser:
        tab = browser.new_page(viewport={"width": width, "height": height})
        asked, errors = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        for page in sorted(site.rglob("*.html")):
            tab.goto(address + page.relative_to(site).as_posix())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, page.name
        assert len(asked) > 100
        assert [url for url in asked if not url.startswith((address, "data:"))] == []
        assert errors == []


@pytest.mark.slow
def test_search_works_without_a_server(site):
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto((site / "index.html").as_uri())
        field = tab.locator("input.md-search__input")
        field.focus()  # then it reads its index
        ready = tab.locator(".md-search-result__meta", has_text="Type to start searching")
        ready.wait_for(state="attached")
        field.press_sequentially("PrefixCache")  # the site listens to keys
        found = tab.locator(".md-search-result__item a").first
        found.wait_for(state="attached")
        assert "cache" in found.get_attribute("href")


@pytest.mark.slow
def test_five_commands_lead_from_a_folder_to_a_checked_file(tmp_path, monkeypatch, capsys):
    """The tutorial's commands as they stand there, but with few small pictures and one epoch."""
    page = (DOCS / "tutorials" / "folder-to-phone.md").read_text()
    (commands,) = re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    install, *others = [shlex.split(line) for line in commands.replace("\\\n", "").splitlines()]
    assert install[:2] == ["pip", "install"] and len(others) <= 4
    write_classes(tmp_path / "pictures", count=15, suffix=".jpg", size=(50, 40))
    for words in others:
        words += ["--epochs", "1", "--image-size", "224"] if "finetune" in words else []
        module = [] if words[0] == "python" else ["-m", "kerasft"]
        subprocess.run([sys.executable, *module, *words[1:]], cwd=tmp_path, check=True)
    checked = json.loads((tmp_path / "run/report.json").read_text())["exports"]["float32"]
    assert checked["quality"]["samples"] > 0 and checked["parity"]["max_relative"] < 1e-4
    sizes = [(tmp_path / name).stat().st_size for name in ("int8.tflite", "run/model.tflite")]
    assert sizes[0] < sizes[1] / 3
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "folder-to-phone.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines()[-1] in ("cat", "dog")


def commands_of(page):
    """Command lines `kerasft …` of a page, in blocks and in sentences, as words."""
    text = page.read_text().replace("\\\n", " ")
    blocks = "".join(re.findall(r"^```\w*$.*?^```$", text, re.DOTALL | re.MULTILINE))
    for line in re.findall(r"^kerasft .*$", blocks, re.MULTILINE) + re.findall(
        r"(?<!`)`(kerasft [^`]+)`", text
    ):
        yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_options_that_exist(page):
    known = get_command(app).commands
    for name, *words in commands_of(page):
        if name != "--install-completion":
            options = {
                option for value in known[name].params for option in (*value.opts, *value.secondary_opts)
            }
            assert {word for word in words if word.startswith("--")} <= options, name


def slug(heading):
    """The anchor of a heading, as MkDocs and GitHub make it."""
    plain = unicodedata.normalize("NFKD", re.sub(r"[`*]", "", heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def broken_links(page):
    """Links of a page to files or headings that are not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        headings = (
            re.findall(r"^#+ (.*)$", prose(place), re.MULTILINE) if place.suffix == ".md" and anchor else ()
        )
        if not place.exists() or (anchor and anchor not in map(slug, headings)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A name\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-name) [c](gone.md) [d](there.md#no-heading) [e](https://x.org/y)"
    )
    assert list(broken_links(page)) == ["gone.md", "there.md#no-heading"]


def test_pages_are_short():
    lines = {str(page.relative_to(ROOT)): page.read_text().count("\n") for page in PAGES}
    assert lines["README.md"] <= 150
    assert {name: count for name, count in lines.items() if count >= 400} == {}
