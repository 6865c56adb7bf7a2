"""The command that searches for a freeze depth and the way to it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kerasft.commands import options
from kerasft.commands.class_weights import read_class_weights
from kerasft.commands.terminal import (
    errors,
    increasing,
    is_text,
    load_images,
    load_libraries,
    load_strings,
    pair,
    words,
)


def search(
    context: typer.Context,
    data: options.Data,
    backbone: options.Backbone,
    out: options.Out,
    trials: Annotated[int, typer.Option(help="How many trials; Hyperband decides itself.", min=1)] = 20,
    epochs: Annotated[int, typer.Option(help="Epochs of a trial.", min=1)] = 5,
    tuner: Annotated[str, typer.Option(help="bayesian, random, grid or hyperband.")] = "bayesian",
    depths: Annotated[
        str | None, typer.Option(help="Freeze depths or stages to choose from, separated by commas.")
    ] = None,
    recipes: Annotated[
        str | None, typer.Option(help="Recipes to choose from, separated by commas; all by default.")
    ] = None,
    learning_rate: Annotated[str, typer.Option(help="Range of base learning rates, LOW,HIGH.")] = "1e-4,1e-2",
    precision: Annotated[
        str | None, typer.Option(help="Score the exported .tflite file of this precision, not Keras's model.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="The largest .tflite file, in bytes.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Its longest latency on this machine.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Begin no further trial after this time.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Stop trials that are unlikely to become the best.")
    ] = True,
    image_size: options.ImageSize = 224,
    input_range: options.PixelRange = None,
    batch_size: options.BatchSize = 32,
    batch_norm: options.BatchNorm = "inference",
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
    kind: options.Kind = None,
    vocab: options.Vocabulary = None,
    preprocessor: options.Preprocessor = None,
    length: options.Length = 128,
    resize: options.Resize = "antialias",
    background: options.Background = "white",
    layout: options.Layout = None,
    skip_corrupt: options.SkipCorrupt = False,
    class_weights: options.ClassWeights = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
    trust: options.Trust = False,
) -> None:
    """Search how deep to unfreeze a backbone, and how: trials share frozen work."""
    with errors(out):
        pixels = None if input_range is None else increasing(input_range, "--input-range")
        rates = pair(learning_rate, "--learning-rate")
        weights = None if class_weights is None else read_class_weights(class_weights)
        load_libraries()
        from kerasft.commands.outcome import show_search
        from kerasft.commands.search_job import run
        from kerasft.commands.settings import SearchSettings, TextSearchSettings
        from kerasft.commands.workspace import check_free
        from kerasft.hub import resolve

        check_free(out, overwrite, resume)
        common: dict[str, Any] = {
            "tuner": tuner, "trials": trials, "epochs": epochs, "depths": _depths(depths),
            "recipes": None if recipes is None else tuple(words(recipes)), "learning_rate": rates,
            "precision": precision, "max_bytes": max_bytes, "max_ms": max_ms,
            "budget": None if minutes is None else 60 * minutes, "prune": prune, "batch_norm": batch_norm,
            "overwrite": overwrite, "resume": resume, "seed": seed, "trust": trust, "class_weights": weights,
        }  # fmt: skip
        loading: dict[str, Any] = {
            "batch_size": batch_size, "seed": seed, "limit": limit, "layout": layout,
            "skip_corrupt": skip_corrupt, "data_dir": data_dir,
        }  # fmt: skip
        settings = SearchSettings(backbone, out, image_size, pixels, **common)
        if is_text(context, data, kind, data_dir):
            from kerasft.commands.text_command import check_encoder

            texts = TextSearchSettings(
                backbone, out, length=length, vocabulary=vocab, preprocessor=preprocessor, **common
            )
            check_encoder(texts)
            show_search(run(load_strings(data, **loading), texts))
            return
        resolve(backbone)
        images = load_images(data, image_size=image_size, resize=resize, background=background, **loading)
        show_search(run(images, settings))


def _depths(text: str | None) -> tuple[int | str, ...] | None:
    """Freeze depths, and names of stages, as they are typed."""
    return None if text is None else tuple(int(word) if word.isdigit() else word for word in words(text))
