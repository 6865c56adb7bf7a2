"""The command `kerasft`: its subcommands, each in a file of its own."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from kerasft.commands.advise import advise
from kerasft.commands.export import export
from kerasft.commands.finetune import finetune, quickstart
from kerasft.commands.inspect import inspect
from kerasft.commands.report import report
from kerasft.commands.search import search
from kerasft.commands.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # its tables cut the names of options in narrow terminals
    pretty_exceptions_enable=False,
)
for command, short in (
    (quickstart, "Fine-tune on digits, or on reviews: --text."),
    (finetune, "Fine-tune a backbone on images or texts."),
    (advise, "Say whether to fine-tune, and how deep."),
    (search, "Search how deep to unfreeze a backbone."),
    (report, "Show a run on one page of HTML."),
    (export, "Export a model to checked .tflite files."),
    (verify, "Check a golden pack in LiteRT."),
    (inspect, "Show stages, or what accelerators refuse."),
):
    app.command(short_help=short)(command)  # short enough for 60 columns


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kerasft {importlib.metadata.version('kerasft')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fine-tune a TF Hub backbone with Keras, and export it to the edge."""


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
