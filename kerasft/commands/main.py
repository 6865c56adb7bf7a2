"""The command `kerasft`: quickstart, finetune and search here, what follows training in `export_commands`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerasft.commands.export import export, inspect, verify
from kerasft.commands.terminal import (
    Out,
    Overwrite,
    Seed,
    Trust,
    app,
    errors,
    load_images,
    load_libraries,
    numbers,
    say,
    words,
)

if TYPE_CHECKING:
    from kerasft.commands.outcome import Outcome, SearchOutcome


@app.command()
def quickstart(
    out: Out = Path("quickstart"),
    quick: Annotated[bool, typer.Option("--quick", help="A short form: fewer images and epochs.")] = False,
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.", min=32)] = 96,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> None:
    """EfficientNet-Lite0 with ImageNet weights, fine-tuned on scikit-learn's digits, as a .tflite file."""
    with errors():
        load_libraries()
        from kerasft.commands.finetune_job import run
        from kerasft.commands.settings import Settings
        from kerasft.commands.workspace import check_free, discard_unfinished
        from kerasft.data import load_dataset
        from kerasft.examples import efficientnet_lite0

        discard_unfinished(out)
        check_free(out, overwrite)
        say("EfficientNet-Lite0 (ImageNet) on scikit-learn's digits: writing the backbone as a SavedModel")
        with tempfile.TemporaryDirectory() as folder:
            handle = efficientnet_lite0.write_saved_model(
                Path(folder) / "efficientnet_lite0", feature_vector=True, rescale=True
            )
            data = load_dataset(
                "digits", image_size=image_size, batch_size=32, seed=seed, limit=400 if quick else None
            )
            epochs = (2, 1) if quick else (3, 3, 4, 4)
            settings = Settings(
                handle=str(handle),
                out=out,
                image_size=image_size,
                input_range=(0.0, 255.0),
                epochs=epochs,
                overwrite=overwrite,
                seed=seed,
            )
            _show(run(data, settings))


@app.command()
def finetune(
    data: Annotated[str, typer.Argument(help="tfds:NAME, a folder of class folders, or digits.")],
    backbone: Annotated[str, typer.Option(help="URL, Kaggle handle, or folder of a TF2 SavedModel.")],
    out: Out,
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.", min=8)] = 224,
    input_range: Annotated[
        str, typer.Option(help="Pixel range that the backbone expects, as LOW,HIGH; TF Hub's is 0,1.")
    ] = "0,1",
    epochs: Annotated[
        str, typer.Option(help="Epochs in each phase, from the head down, separated by commas.")
    ] = "3,3,4,4",
    learning_rate: Annotated[float, typer.Option(help="Base learning rate of AdamW.")] = 1e-3,
    decay: Annotated[float, typer.Option(help="Learning-rate factor from a stage to the one below.")] = 0.8,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    batch_norm: Annotated[str, typer.Option(help="inference, statistics or train.")] = "inference",
    limit: Annotated[int | None, typer.Option(help="Use that many images only.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where tensorflow-datasets keeps its files.")] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Run frozen layers once for each image.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was killed.")] = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    trust: Trust = False,
) -> None:
    """Fine-tune a backbone on images, thawing it from the head down, and export it."""
    with errors():
        low, high = numbers(input_range, float, "--input-range", 2)
        phases = numbers(epochs, int, "--epochs")
        if min(phases) < 1:
            raise ValueError(f"--epochs needs at least one epoch in each phase; received {epochs!r}.")
        load_libraries()
        from kerasft.commands.finetune_job import run
        from kerasft.commands.settings import Settings
        from kerasft.commands.workspace import check_free

        check_free(out, overwrite, resume)
        images = load_images(data, image_size, batch_size, seed, limit, skip_corrupt, data_dir)
        settings = Settings(
            handle=backbone,
            out=out,
            image_size=image_size,
            input_range=(low, high),
            epochs=tuple(phases),
            learning_rate=learning_rate,
            decay=decay,
            batch_norm=batch_norm,
            overwrite=overwrite,
            resume=resume,
            cache=cache,
            seed=seed,
            trust=trust,
        )
        _show(run(images, settings))


@app.command()
def search(
    data: Annotated[str, typer.Argument(help="tfds:NAME, a folder of class folders, or digits.")],
    backbone: Annotated[str, typer.Option(help="URL, Kaggle handle, or folder of a TF2 SavedModel.")],
    out: Out,
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
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.", min=8)] = 224,
    input_range: Annotated[
        str, typer.Option(help="Pixel range that the backbone expects, as LOW,HIGH; TF Hub's is 0,1.")
    ] = "0,1",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    batch_norm: Annotated[str, typer.Option(help="inference, statistics or train.")] = "inference",
    limit: Annotated[int | None, typer.Option(help="Use that many images only.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where tensorflow-datasets keeps its files.")] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was killed.")] = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    trust: Trust = False,
) -> None:
    """Search how deep to unfreeze a backbone, and how: trials share frozen work."""
    with errors():
        low, high = numbers(input_range, float, "--input-range", 2)
        slowest, fastest = numbers(learning_rate, float, "--learning-rate", 2)
        load_libraries()
        from kerasft.commands.search_job import run
        from kerasft.commands.settings import SearchSettings
        from kerasft.commands.workspace import check_free

        check_free(out, overwrite, resume)
        settings = SearchSettings(
            handle=backbone,
            out=out,
            image_size=image_size,
            input_range=(low, high),
            tuner=tuner,
            trials=trials,
            epochs=epochs,
            depths=None if depths is None else tuple(int(d) if d.isdigit() else d for d in words(depths)),
            recipes=None if recipes is None else tuple(words(recipes)),  # type: ignore[arg-type]
            learning_rate=(slowest, fastest),
            precision=precision,
            max_bytes=max_bytes,
            max_ms=max_ms,
            budget=None if minutes is None else 60 * minutes,
            batch_norm=batch_norm,
            overwrite=overwrite,
            resume=resume,
            seed=seed,
            trust=trust,
        )
        images = load_images(data, image_size, batch_size, seed, limit, skip_corrupt, data_dir)
        _show_search(run(images, settings))


for command in (export, verify, inspect):
    app.command()(command)


def main() -> None:
    """Entry point of the command."""
    app()


def _show(outcome: Outcome) -> None:
    """The closing table, and how to load what was made."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    phases = Table("phase", "depth", "trains from", "epochs", "parameters", "accuracy", "val.")
    for number, row in enumerate(outcome.phases, 1):
        phases.add_row(
            str(number),
            str(row["depth"]),
            str(row["from"]),
            str(row["epochs"]),
            f"{row['trained']:,}",
            f"{row['accuracy']:.4f}",
            f"{row['val_accuracy']:.4f}",
        )
    console.print(phases)
    results = Table("result", "test accuracy", "size", "differs from Keras by")
    results.add_row("frozen, trained head", f"{outcome.head_accuracy:.4f}", "", "")
    results.add_row("fine-tuned, Keras", f"{outcome.accuracy:.4f}", "", "")
    for precision, report in outcome.reports.items():
        name = Path(report.path).name + ("" if precision in report.path else f" ({precision})")
        size = f"{report.size_bytes / 1e6:.2f} MB"
        results.add_row(name, f"{report.accuracy_file:.4f}", size, f"{report.parity.max_abs:.1e}")
    console.print(results)
    count = f"{outcome.frozen_checked:,}"
    console.print(
        f"Frozen weights compared after each epoch: {count}, all equal to the bit.", highlight=False
    )
    if outcome.cache is not None:
        console.print(f"Frozen work: {outcome.cache}", highlight=False)
    for precision, reason in outcome.failures.items():
        console.print(f"{precision} was not exported: {reason}", style="red", markup=False)
    if not outcome.reports:
        console.print(f"The trained model is in {outcome.out / 'model.keras'}.")
        raise typer.Exit(1)
    report = next(iter(outcome.reports.values()))
    console.print(
        f"{outcome.seconds:.0f} s. In {outcome.out}: {', '.join(sorted(outcome.files))}", highlight=False
    )
    tflite = outcome.out / Path(report.path).name
    typer.echo(f"""
In Python:
    import keras, kerasft.hub
    model = keras.models.load_model("{outcome.out / "model.keras"}")

    from ai_edge_litert.interpreter import Interpreter
    classify = Interpreter("{tflite}").get_signature_runner()
    scores = classify({report.inputs[0].name}=image)  # float32 {tuple(report.inputs[0].shape)}, 0..255
""")


def _show_search(outcome: SearchOutcome) -> None:
    """The best trials, and what was made."""
    from rich.console import Console

    from kerasft.search import table

    console = Console()
    counts = {s: sum(r.status == s for r in outcome.records) for s in ("completed", "stopped", "failed")}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(table(outcome.records, "max", f"{len(outcome.records)} trials: {said}", most=5))
    best = outcome.best
    console.print(
        f"Best: trial {best.trial}, {best.recipe.replace('_', ' ')}, trains from {best.trains_from}; "
        f"{outcome.objective} {best.score:.4f}, test accuracy {outcome.accuracy:.4f}.",
        highlight=False,
    )
    console.print(f"{outcome.seconds:.0f} s. In {outcome.out}: {', '.join(outcome.files)}", highlight=False)
    typer.echo(f"""
    kerasft export {outcome.out / "model.keras"} --out model.tflite --labels {outcome.out / "labels.txt"}
    tensorboard --logdir {outcome.out / "tensorboard"}
""")


if __name__ == "__main__":
    main()
