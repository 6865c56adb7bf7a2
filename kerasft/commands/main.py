"""The command `kerasft`: its subcommands, each in a file of its own."""

from __future__ import annotations

import typer

from kerasft.commands.export import export, inspect, verify
from kerasft.commands.finetune import finetune, quickstart
from kerasft.commands.search import search

app = typer.Typer(
    help="Fine-tune a TF Hub backbone with Keras, and export it to the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (quickstart, finetune, search, export, verify, inspect):
    app.command()(command)


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
