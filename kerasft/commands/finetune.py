"""The commands that fine-tune a backbone: quickstart and finetune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasft.arguments import check_number
from kerasft.commands import options
from kerasft.commands.class_weights import read_class_weights
from kerasft.commands.terminal import errors, increasing, is_text, load_images, load_libraries, numbers, say

if TYPE_CHECKING:
    from kerasft.unfreezing import UnfreezingSchedule


def quickstart(
    out: options.Out = Path("quickstart"),
    quick: Annotated[bool, typer.Option("--quick", help="A short form: fewer images and epochs.")] = False,
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.", min=32)] = 96,
    text: Annotated[bool, typer.Option("--text", help="Sentiment of movie reviews instead.")] = False,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
) -> None:
    """EfficientNet-Lite0 with ImageNet weights, fine-tuned on scikit-learn's digits, as a .tflite file.

    With --text: the sentence encoder all-MiniLM-L6-v2, fine-tuned on snippets of movie reviews.
    """
    with errors(out):
        load_libraries()
        if text:
            from kerasft.commands.text_command import quickstart_text

            quickstart_text(out, quick, overwrite, seed)
            return
        from kerasft.commands.finetune_job import run
        from kerasft.commands.outcome import show
        from kerasft.commands.settings import FinetuneSettings
        from kerasft.commands.workspace import check_free, discard_unfinished
        from kerasft.data import load_dataset
        from kerasft.examples import efficientnet_lite0
        from kerasft.files import scratch

        discard_unfinished(out)
        check_free(out, overwrite)
        say("EfficientNet-Lite0 (ImageNet) on scikit-learn's digits: writing the backbone as a SavedModel")
        with scratch() as folder:
            backbone = efficientnet_lite0.write_saved_model(
                folder / "efficientnet_lite0", feature_vector=True, rescale=True
            )
            data = load_dataset("digits", image_size=image_size, seed=seed, limit=400 if quick else None)
            settings = FinetuneSettings(
                handle=str(backbone),
                out=out,
                image_size=image_size,
                epochs=(2,) if quick else FinetuneSettings.epochs,
                overwrite=overwrite,
                seed=seed,
            )
            try:
                outcome = run(data, settings, keep=[backbone])
            except BaseException:
                discard_unfinished(out)
                raise
            show(outcome)
        say(f"""The backbone is there as well, for images of your own in a folder for each class:
    kerasft finetune IMAGES --backbone {out / backbone.name} --out OUT
""")


def finetune(
    context: typer.Context,
    data: options.Data,
    backbone: options.Backbone,
    out: options.Out,
    image_size: options.ImageSize = 224,
    input_range: options.PixelRange = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            help="How long it trains: 12, for texts 4. Or the epochs of phases from the head down, "
            "separated by commas: 3,3,4,4. With --schedule: in all."
        ),
    ] = None,
    schedule: Annotated[
        Path | None,
        typer.Option(
            help="The phases, in a file as UnfreezingSchedule writes it: JSON, or YAML by its name.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Highest learning rate of AdamW: 2e-4; in phases 1e-3, for texts 1e-4."),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(
            help="Learning-rate factor from a stage to the one below: 1; in phases 0.8, for texts 0.9."
        ),
    ] = None,
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
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Run frozen layers once for each image.")
    ] = True,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
    trust: options.Trust = False,
) -> None:
    """Fine-tune a backbone on images or texts, and export it."""
    with errors(out):
        pixels = None if input_range is None else increasing(input_range, "--input-range")
        phases = None if epochs is None else numbers(epochs, int, "--epochs")
        if phases is not None and min(phases) < 1:
            raise ValueError(f"--epochs needs at least one epoch in each phase; received {epochs!r}.")
        if learning_rate is not None:
            check_number("--learning-rate", learning_rate, above=0)
        weights = None if class_weights is None else read_class_weights(class_weights)
        load_libraries()
        from kerasft.commands.finetune_job import run
        from kerasft.commands.outcome import show
        from kerasft.commands.settings import FinetuneSettings, TextSettings
        from kerasft.commands.workspace import check_free
        from kerasft.hub import resolve
        from kerasft.unfreezing import UnfreezingSchedule

        check_free(out, overwrite, resume)
        read = None if schedule is None else UnfreezingSchedule.from_file(schedule)
        if read is not None:
            phases = [_epochs_in_all(read, phases)]
        common: dict[str, Any] = {
            "batch_norm": batch_norm, "overwrite": overwrite, "resume": resume,
            "cache": cache, "seed": seed, "trust": trust, "schedule": read, "class_weights": weights,
        }  # fmt: skip
        if phases is not None:
            common["epochs"] = tuple(phases)
        if learning_rate is not None:
            common["learning_rate"] = learning_rate
        if decay is not None:
            common["decay"] = decay
        loading: dict[str, Any] = {
            "batch_size": batch_size, "seed": seed, "limit": limit, "layout": layout,
            "skip_corrupt": skip_corrupt, "data_dir": data_dir,
        }  # fmt: skip
        if is_text(context, data, kind, data_dir):
            from kerasft.commands.text_command import finetune_text

            given: dict[str, Any] = {"length": length, "vocabulary": vocab, "preprocessor": preprocessor}
            finetune_text(data, TextSettings(backbone, out, **given, **common), loading)
            return
        resolve(backbone)
        images = load_images(data, image_size=image_size, resize=resize, background=background, **loading)
        settings = FinetuneSettings(backbone, out, image_size=image_size, input_range=pixels, **common)
        show(run(images, settings))


def _epochs_in_all(schedule: UnfreezingSchedule, given: list[int] | None) -> int:
    """How many epochs a schedule takes: what --epochs says, or what its phases say."""
    if given is not None and len(given) != 1:
        raise ValueError(f"With --schedule, --epochs is the number of epochs in all; received {given}.")
    if given is not None:
        return given[0]
    endless = [index for index, phase in enumerate(schedule) if phase.epochs is None]
    if endless:
        raise ValueError(
            f"The phases {endless} of the schedule, from 0, have no `epochs`. Say with --epochs how many "
            "epochs there are in all, or write `epochs` into these phases: then it is their sum."
        )
    return sum(phase.epochs or 0 for phase in schedule)
