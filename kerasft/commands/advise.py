"""The command that says whether to extract features or to fine-tune."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasft.commands import options
from kerasft.commands.terminal import (
    errors,
    increasing,
    is_text,
    load_images,
    load_libraries,
    load_strings,
    say,
    say_aside,
)

if TYPE_CHECKING:
    from kerasft.commands.image_task import ImageSamples
    from kerasft.commands.text_task import TextSamples


def advise(
    context: typer.Context,
    data: options.Data,
    backbone: options.Backbone,
    image_size: options.ImageSize = 224,
    samples: Annotated[int, typer.Option(help="Use that many training samples at most.", min=4)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the advice as JSON alone.")] = False,
    input_range: options.PixelRange = None,
    batch_size: options.BatchSize = 32,
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
    seed: options.Seed = 0,
    trust: options.Trust = False,
) -> None:
    """Extract features, or fine-tune, and from which stage? Measured on frozen features; nothing trains."""
    with errors():
        pixels = None if input_range is None else increasing(input_range, "--input-range")
        load_libraries()
        from kerasft.commands.image_task import ImageSamples
        from kerasft.commands.settings import TextInputs, TrainingSettings
        from kerasft.hub import resolve

        tell = say_aside if as_json else say
        loading: dict[str, Any] = {
            "batch_size": batch_size, "seed": seed, "limit": limit, "layout": layout,
            "skip_corrupt": skip_corrupt, "data_dir": data_dir,
        }  # fmt: skip
        common: dict[str, Any] = {"seed": seed, "trust": trust}
        held: ImageSamples | TextSamples
        if is_text(context, data, kind, data_dir):
            from kerasft.commands.text_command import check_encoder
            from kerasft.commands.text_task import TextSamples

            inputs = TextInputs(
                backbone, Path(), length=length, vocabulary=vocab, preprocessor=preprocessor, **common
            )
            check_encoder(inputs)
            held = TextSamples(load_strings(data, tell, **loading), inputs)
        else:
            resolve(backbone)
            images = partial(load_images, image_size=image_size, resize=resize, background=background)
            held = ImageSamples(
                images(data, tell, **loading),
                TrainingSettings(backbone, Path(), image_size, pixels, **common),
            )
        _show(held, samples, seed, as_json, tell)


def _show(
    held: ImageSamples | TextSamples, samples: int, seed: int, as_json: bool, tell: Callable[[str], None]
) -> None:
    """Print the advice on the training part: the others stay unseen, as in `kerasft finetune`."""
    from kerasft.advice import advise as measured
    from kerasft.files import scratch

    with scratch() as folder:
        model = held.builder(folder, tell)()
    advice = measured(model, held.train, labels=held.class_names, samples=samples, seed=seed)
    say(json.dumps(advice.to_dict(), indent=2, ensure_ascii=False) if as_json else f"\n{advice}")
