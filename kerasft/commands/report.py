"""The command that shows a run on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasft.commands import options
from kerasft.commands.terminal import errors, say, say_aside


def report(
    run: Annotated[Path, typer.Argument(help="The folder that finetune, quickstart or search has written.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; report.html in the folder by default.", dir_okay=False)
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Show a run on one page of HTML, which needs no network: stages, rates, curves, what is wrong, files.

    Of a run that has not ended, the page shows what there is.
    """
    with errors():
        from kerasft.report import write_page

        path, found = write_page(run, out, overwrite=overwrite)
        for problem in found.problems:
            say_aside(f"not shown: {problem}")
        if not found.finished:
            say_aside(f"The run of {run} has not ended: the page shows what it has stored so far.")
        say(f"{path}: {path.stat().st_size / 1e3:.0f} kB, for any browser.")
