"""What the package says about itself is true, and its distributions hold what they need and nothing else."""

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import kerasft

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGES = (ROOT / "CHANGELOG.md").read_text()
PLACES = {"kerasft": "kerasft", "export": "kerasft/export", "examples": "kerasft/examples"}
NOT_FEATURES = {"all", "docs", "test"}  # extras of those who work on kerasft, and the sum of the others

asks_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows what belongs to the source")


def listed(section, key):
    """A list of setup.cfg."""
    return SETUP[section][key].strip().splitlines()


def packages_of(extra):
    """The names of the packages that an extra installs, those of the extras that it names among them."""
    for requirement in map(Requirement, listed("options.extras_require", extra)):
        if requirement.name == "kerasft":
            for inner in requirement.extras:
                yield from packages_of(inner)
        else:
            yield requirement.name


def source_files():
    """The files that git knows."""
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in found.stdout.splitlines() if (ROOT / name).exists()]


def installed_files():
    """The files that belong into a wheel, under the names that they are imported by."""
    for name in source_files():
        folder, _, rest = name.partition("/")
        if folder in PLACES and not rest.endswith(".md") and not name.startswith("examples/notebooks/"):
            yield f"{PLACES[folder]}/{rest}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist of what git knows, and the wheel that is made of the sdist."""
    folder = tmp_path_factory.mktemp("built")
    for name in source_files():
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    words = ["-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
@asks_git
def test_the_source_distribution_holds_what_git_holds(built):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    own = [name for name in names if name != "PKG-INFO" and not name.startswith("kerasft.egg-info/")]
    assert sorted(own) == sorted(source_files())
    assert {"tests/conftest.py", "tests/data/minilm_reference.npz", "docs/index.md"} <= set(own)


@pytest.mark.slow
@asks_git
def test_the_wheel_works_without_the_checkout(built, tmp_path):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    packages = [n for n in names if not n.split("/")[0].endswith(".dist-info")]
    assert sorted(packages) == sorted(installed_files())
    code = "import kerasft.export, kerasft.examples, kerasft.hub; print(kerasft.export.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip().startswith(str(tmp_path))


@pytest.mark.slow
@asks_git
def test_the_wheel_says_who_made_it_and_what_it_is(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        (place,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(place))
        assert f"{place.rpartition('/')[0]}/licenses/LICENSE" in archive.namelist()
    assert said["Author"] == "kerasft contributors"
    assert (said["Name"], said["Version"]) == ("kerasft", SETUP["metadata"]["version"])
    assert "Apache-2.0" in (said["License"], said["License-Expression"])
    assert said["Keywords"].split(",") == listed("metadata", "keywords")
    assert said.get_all("Classifier") == listed("metadata", "classifiers")
    assert set(said.get_all("Provides-Extra")) == set(SETUP["options.extras_require"])
    addresses = [address.partition(", ")[2] for address in said.get_all("Project-URL", [])]
    assert addresses + said.get_all("Home-page", []) == [
        CITATION[key] for key in ("url", "repository-code") if key in CITATION
    ]


def test_the_classifiers_name_the_pythons_that_are_allowed():
    names = [name.rpartition(" :: ")[2] for name in listed("metadata", "classifiers") if " 3." in name]
    assert f">={names[0]}" == SETUP["options"]["python_requires"]
    assert names == [f"3.{11 + i}" for i in range(len(names))]
    assert (ROOT / "kerasft" / "py.typed").exists()
    assert "Typing :: Typed" in listed("metadata", "classifiers")


def test_the_extras_agree_with_each_other():
    extras = set(SETUP["options.extras_require"])
    for extra in extras - NOT_FEATURES:
        assert set(packages_of(extra)) <= set(packages_of("all")), extra
    for extra in extras - {"test"}:
        assert set(packages_of(extra)) <= set(packages_of("test")), extra
    requirements = [Requirement(line) for extra in extras for line in listed("options.extras_require", extra)]
    names = [requirement.name for requirement in requirements if requirement.name != "kerasft"]
    assert sorted(names) == sorted(set(names)), "a package has its versions in one place"
    core = {Requirement(line).name for line in listed("options", "install_requires")}
    assert core & set(names) == set()


def test_every_extra_that_is_named_is_there():
    paths = [path for end in ("py", "md") for path in ROOT.rglob(f"*.{end}")]
    others = {".venv", ".venv-floor", "build", "site"}
    paths = [path for path in paths if not others & set(path.relative_to(ROOT).parts)]
    named = [
        name
        for path in [*paths, ROOT / "Makefile", ROOT / "setup.cfg"]
        for match in re.findall(r"(?:kerasft|\.)\[([a-z][a-z,-]*)\]", path.read_text())
        for name in match.split(",")
    ]
    assert len(named) > 20
    assert set(named) <= set(SETUP["options.extras_require"])


def test_the_version_is_one():
    version = SETUP["metadata"]["version"]
    assert CITATION["version"] == version == kerasft.__version__
    assert re.search(r"^## (\S+)", CHANGES, re.MULTILINE)[1] == version
    assert f"There is one, {version}" in (ROOT / "SECURITY.md").read_text()


def test_the_citation_is_one_that_tools_read():
    """Keys and values as version 1.2.0 of the Citation File Format has them."""
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert set(CITATION) <= {
        "cff-version", "message", "title", "type", "authors", "version", "date-released", "license",
        "abstract", "keywords", "url", "repository-code", "identifiers", "doi",
    }  # fmt: skip
    assert (CITATION["cff-version"], CITATION["type"]) == ("1.2.0", "software")
    assert CITATION["authors"] == [{"name": SETUP["metadata"]["author"]}]
    assert (CITATION["title"], CITATION["license"]) == ("kerasft", SETUP["metadata"]["license"])
    assert CITATION["abstract"] == SETUP["metadata"]["description"]
    assert CITATION["keywords"] == listed("metadata", "keywords")


def test_the_changelog_has_a_section_for_each_version_that_says_how_to_move():
    heads = re.findall(r"^## (.*)$", CHANGES, re.MULTILINE)
    sections = re.split(r"^## .*$", CHANGES, flags=re.MULTILINE)[1:]
    parts = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \((unreleased|\d{4}-\d\d-\d\d)\)", head) for head in heads]
    assert all(parts), heads
    versions = [tuple(map(int, part.groups()[:3])) for part in parts]
    assert versions == sorted(set(versions), reverse=True)
    assert "unreleased" not in [part[4] for part in parts[1:]], "only the newest version is not released"
    released = None if parts[0][4] == "unreleased" else parts[0][4]
    assert str(CITATION.get("date-released")) == str(released)
    assert all("### How to move\n" in section for section in sections)
    entries = re.findall(r"^- .*(?:\n  .*)*", CHANGES, re.MULTILINE)
    assert sorted(entries) == sorted(set(entries)), "an entry is there once"
