"""The command `kerasft inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kerasft.commands import options
from kerasft.commands.terminal import errors, load_libraries, load_model


def inspect(
    source: Annotated[str, typer.Argument(help="A backbone's handle or folder, a .keras or a .tflite file.")],
    at: Annotated[list[str] | None, typer.Option(help="A layer that begins a stage; repeatable.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a .tflite file: run it in xnnpack or micro, or compile it for ethos-u55-128 or another "
            "NPU; repeatable."
        ),
    ] = None,
    trust: options.Trust = False,
) -> None:
    """Show the stages of a backbone or a Keras model, or what accelerators refuse of a .tflite file."""
    with errors():
        from rich.console import Console

        is_file = source.endswith((".keras", ".h5", ".tflite"))
        if is_file and not Path(source).is_file():
            raise FileNotFoundError(f"There is no file {source}.")
        if source.endswith(".tflite"):
            from kerasft.commands.report_text import refusals
            from kerasft.export import readiness

            Console().print(refusals(readiness(source, targets=target or ())), highlight=False)
            return
        if target:
            raise ValueError("--target runs or compiles a .tflite file; export the model first.")
        load_libraries()

        from kerasft.hub import load_backbone
        from kerasft.stages import find_stages

        model = load_model(Path(source)) if is_file else load_backbone(source, trust=trust)
        Console().print(find_stages(model, at=at))
