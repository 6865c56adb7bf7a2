"""The command `kerasft verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasft.commands.terminal import errors, say


def verify(
    pack: Annotated[Path, typer.Argument(help="A golden pack: a .zip, or what it unpacks to.")],
) -> None:
    """Check a golden pack in this machine's LiteRT; neither TensorFlow nor Keras is needed."""
    with errors():
        from kerasft.export import verify_pack

        found = verify_pack(pack)
        say(str(found))
    if not found.ok:
        raise typer.Exit(1)
