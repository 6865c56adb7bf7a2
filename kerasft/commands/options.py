"""The options that several commands have, each with one name, one type and one line of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(help="A folder of class folders, a CSV file, JSON lines of texts, tfds:NAME, or digits."),
]
Kind = Annotated[
    str | None, typer.Option("--as", help="images or text, where the data hold both (the error says so).")
]
Vocabulary = Annotated[
    str | None, typer.Option("--vocab", help="Texts: the backbone's WordPiece vocabulary, such as vocab.txt.")
]
Preprocessor = Annotated[
    str | None, typer.Option(help="Texts: a SavedModel that makes the backbone's inputs of strings.")
]
Length = Annotated[int, typer.Option(help="Texts: tokens of each; what is beyond is cut off.", min=3)]
Backbone = Annotated[str, typer.Option(help="URL, Kaggle handle, or folder of a TF2 SavedModel.")]
Out = Annotated[Path, typer.Option(help="Folder for the results; made by the command.")]
ImageSize = Annotated[int, typer.Option(help="Side of the images in pixels.", min=8)]
PixelRange = Annotated[
    str | None,
    typer.Option(help="Pixel range that the backbone expects, as LOW,HIGH; what fits it, by default."),
]
BatchSize = Annotated[int, typer.Option(help="Images in a batch.", min=1)]
BatchNorm = Annotated[str, typer.Option(help="inference, frozen, statistics or train.")]
Limit = Annotated[int | None, typer.Option(help="Use that many images only.")]
DataDir = Annotated[Path | None, typer.Option(help="Where tensorflow-datasets keeps its files.")]
Resize = Annotated[
    str,
    typer.Option(
        help="antialias; bilinear, which looks at four pixels as many phones do; or mediapipe, as MediaPipe "
        "Tasks do."
    ),
]
Background = Annotated[str, typer.Option(help="Colour under transparent parts.")]
Layout = Annotated[
    str | None,
    typer.Option(help="classes or groups, where the names of folders have two readings (the error says so)."),
]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        help="balanced, where classes are uneven: each counts the same in all; or a weight for each label as "
        "JSON."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was killed.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[int, typer.Option(help="Seed of weights, shuffling and the tuner.", min=0)]
Trust = Annotated[
    bool, typer.Option("--trust", help="Allow a backbone's operations to touch files or run code.")
]
