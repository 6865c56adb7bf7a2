"""The page: its sections in order, each shown as far as the run has what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kerasft.files import replacing
from kerasft.report import results, setting, training
from kerasft.report.markup import Markup, element, joined
from kerasft.report.run_folder import MissingError, Run, read_run
from kerasft.report.style import STYLE
from kerasft.report.trials import trials

PAGE = "report.html"
# No script runs, and nothing is loaded, whatever a run's folder holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# What taking something apart raises that has another form than it was given.
_OTHER_FORM = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its title.
        show: What makes it of a run.
        kinds: The kinds of runs that have it.
    """

    name: str
    title: str
    show: Callable[[Run], Markup]
    kinds: tuple[str, ...] = ("finetune", "search")


_FINETUNE = ("finetune",)
SECTIONS = (
    Section("recipe", "The recipe", setting.recipe),
    Section("trials", "Trials of the search", trials, ("search",)),
    Section("phases", "Phases", training.phases, _FINETUNE),
    Section("stages", "Stages: when they thawed, and their learning rates", training.stages, _FINETUNE),
    Section("curves", "Loss and accuracy", training.curves, _FINETUNE),
    Section("movement", "How far the weights moved", training.movement, _FINETUNE),
    Section("precisions", "Exported files", results.precisions, _FINETUNE),
    Section("confusion", "Confusion on the test part", results.confusion),
    Section("wrong", "What is wrong", results.wrong),
    Section("data", "The data", setting.data),
    Section("load", "How to load the files", setting.load),
    Section("versions", "Versions", setting.versions),
)


def page(run: Run) -> str:
    """The page of a run: HTML that needs no other file and no network, and runs no script.

    A section whose evidence is missing or damaged says why, in its place.

    Args:
        run: The run.

    Example:
        >>> html = page(Run("<b>", "search", trials=[]))
        >>> "&lt;b&gt;" in html and "trials.json has none" in html
        True
    """
    sections = [section for section in SECTIONS if run.kind in section.kinds]
    title = f"{run.name}: kerasft {run.kind}"
    links = element("nav", *(element("a", s.title, href=f"#{s.name}") for s in sections))
    shown = [element("section", element("h2", s.title), _shown(s, run), id=s.name) for s in sections]
    body = element("main", element("h1", title), results.problems(run), _tiles(run), links, *shown)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


def write_page(folder: Path, out: Path | None = None, *, overwrite: bool = False) -> tuple[Path, Run]:
    """Write the page of a run's folder.

    Args:
        folder: What `--out` named.
        out: The page; None: report.html in the folder, or NAME.html beside it while the run has not ended.
        overwrite: Whether an existing page may be replaced.

    Returns:
        The page, and the run that it shows.

    Raises:
        FileNotFoundError: The folder is that of no run, or that of the page does not exist.
        FileExistsError: The page exists, and `overwrite` is off.
        ValueError: All that would tell about the run is damaged.
    """
    run = read_run(folder)
    if out is None:
        out = folder / PAGE if run.finished else folder.with_name(f"{run.name}.html")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists. Pass --overwrite to replace it, or another name as --out.")
    with replacing(out, overwrite=overwrite) as partial:
        partial.write_text(page(run), encoding="utf-8")
    return out, run


def _shown(section: Section, run: Run) -> Markup:
    """What a section shows, or why it can't."""
    try:
        return section.show(run)
    except MissingError as missing:
        return element("p", f"Not shown: {missing}.", class_="missing")
    except _OTHER_FORM as error:
        said = f"Not shown: what the run stored about this lacks something, or has another form: {error!r}."
        return element("p", said, class_="missing")


def _tiles(run: Run) -> Markup:
    try:
        return results.tiles(run)
    except _OTHER_FORM:
        return joined([])
