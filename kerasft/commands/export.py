"""The command `kerasft export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasft.commands import options
from kerasft.commands.export_data import Source, from_data, from_the_run
from kerasft.commands.export_options import ALL, exporter_options
from kerasft.commands.export_size import held_to_size, resized
from kerasft.commands.export_targets import build_for_targets, check_targets
from kerasft.commands.export_trainable import OPTIMIZERS, check_trainable, trainable_options
from kerasft.commands.terminal import errors, load_libraries, load_model, say, say_aside

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from kerasft.export import Report, TrainableReport


def export(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    out: Annotated[
        Path, typer.Option(help="A .tflite file; a folder for --precision all, or else for a SavedModel.")
    ],
    precision: Annotated[
        str | None, typer.Option(help="float32, float16, weight_only, dynamic, int8, or all to compare them.")
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(help="What an int8 file takes and gives: float, int8 or uint8; with --target int8."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images, as for finetune: int8 is calibrated on the training images, accuracy is measured "
            "on the test images."
        ),
    ] = None,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
    resize: Annotated[
        str | None, typer.Option(help="As for finetune; by default as the model's run did it.")
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="As for finetune; by default as the model's run did it.")
    ] = None,
    layout: options.Layout = None,
    skip_corrupt: options.SkipCorrupt = False,
    max_drop: Annotated[
        float | None, typer.Option(help="The largest loss of accuracy, such as 0.01 for a point.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="With all: the largest file, in bytes.")] = None,
    max_ms: Annotated[
        float | None, typer.Option(help="With all: the longest latency on this machine.")
    ] = None,
    prefer: Annotated[
        str | None, typer.Option(help="With all: what decides within the limits, size, latency or accuracy.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A text file with one label a line.")] = None,
    input_range: Annotated[
        str | None,
        typer.Option(
            help="Values that the model takes, LOW,HIGH; images of --data are scaled to them. By default "
            "what its own rescaling says, or what is measured."
        ),
    ] = None,
    normalization: Annotated[
        str | None,
        typer.Option(
            help="MEAN,STD that the client applies to pixels of 0 to 255, or three means and then three "
            "standard deviations; images of --data get it as well."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the images that the file takes, where it is not the trained one.", min=8),
    ] = None,
    batch: Annotated[str, typer.Option(help="1, or any for a file that takes any number of samples.")] = "1",
    tolerance: Annotated[
        float | None, typer.Option(help="The largest difference from the model, as in to_tflite.")
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Refuse an int8 file in which something computes in float.")
    ] = True,
    calibration_samples: Annotated[
        int | None, typer.Option(help="How many training images int8 is calibrated on; 128.", min=1)
    ] = None,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Add labels and normalization for MediaPipe Tasks.")
    ] = False,
    score_calibration: Annotated[
        Path | None,
        typer.Option(help="With --metadata: JSON with the fields of ScoreCalibration, a row for each label."),
    ] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Also a .zip with golden inputs, for `kerasft verify` elsewhere.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="micro: run the file in TFLite Micro, and write a C array of it beside it; ethos-u55-128 or "
            "another NPU of Arm's: compile it. Repeatable; int8 by default."
        ),
    ] = None,
    keep_compiled: Annotated[
        bool, typer.Option("--keep-compiled", help="Keep what was compiled for an NPU beside the file.")
    ] = False,
    web: Annotated[Path | None, typer.Option(help="Also a folder with a page that runs the file.")] = None,
    trainable: Annotated[
        bool,
        typer.Option(
            "--trainable",
            help="A file whose last layers train in the app, its frozen layers at --precision; beside it a "
            ".npz with the first weights, and a .json with the report.",
        ),
    ] = False,
    depth: Annotated[
        str | None, typer.Option(help="With --trainable: the first layer that trains; by default the head.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help=f"With --trainable: {', '.join(OPTIMIZERS)}; by default adam.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="With --trainable: the rate to begin with, by default Keras's.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="With --trainable: categorical_crossentropy, binary_crossentropy or mean_squared_error; by "
            "default what the last activation means."
        ),
    ] = None,
    new_classes: Annotated[
        str | None,
        typer.Option(
            help="With --trainable: begin the head anew for so many classes, or for these: names with "
            "commas between, or a .txt file with one a line."
        ),
    ] = None,
    train_batch: Annotated[
        int | None, typer.Option(help="With --trainable: samples in a step; any by default.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
) -> None:
    """Export a Keras model to .tflite files that were verified in LiteRT, or to a SavedModel."""
    given = dict(locals())
    targets = target or []
    with errors():
        if targets:
            precision = given["precision"] = precision or "int8"
        io = given["io"] = io or ("int8" if targets and precision == "int8" else "float")
        check_trainable(out, given)
        check_targets(targets, out, given)
        choice = exporter_options(model, out, given)
        load_libraries()
        from kerasft.export import Report, to_saved_model, to_tflite, to_trainable_tflite

        loaded = load_model(model)
        if not choice:
            path = to_saved_model(loaded, out, overwrite=overwrite)
            say(f"{path}: a reusable TF2 SavedModel; kerasft.hub.load_backbone({str(path)!r}) loads it")
            return
        note = say_aside if as_json else say
        trained = loaded
        if image_size is not None:
            loaded = resized(trained, image_size)
        if data is not None:
            names = ("seed", "limit", "layout", "skip_corrupt", "data_dir")
            source = Source(data, {name: given[name] for name in names}, resize, background)
            images, taken = from_data(model, loaded, source, input_range, choice.get("normalization"), note)
            if loaded is not trained:
                tested = images["holdout"]
                choice |= held_to_size(model, trained, loaded, source, taken, tested, max_drop, note)
            choice = images | choice
        else:
            choice = from_the_run(model, loaded) | choice
        choice["overwrite"] = overwrite
        if precision == ALL:
            _export_all(loaded, out, choice, as_json, max_bytes=max_bytes, max_ms=max_ms, prefer=prefer)
            return
        report: Report | TrainableReport
        if trainable:
            report = to_trainable_tflite(loaded, out, **trainable_options(given, choice))
        else:
            report = to_tflite(loaded, out, precision=precision or "float32", io=io, **choice)
        _show(report, as_json)
        _add_clients(report, choice.get("holdout"), pack, web, overwrite, note)
        if targets and isinstance(report, Report):
            golden = _golden(choice.get("holdout"), report)
            keep = {"keep_compiled": keep_compiled, "overwrite": overwrite}
            build_for_targets(report, targets, golden, **keep, say=note)


def _show(report: Report | TrainableReport, as_json: bool) -> None:
    from kerasft.export import TrainableReport

    if as_json:
        say(report.to_json())
        return
    if isinstance(report, TrainableReport):
        say(str(report))
        return
    from rich.console import Console

    from kerasft.commands.report_text import details, summary

    say(summary(report))
    Console().print(details(report), highlight=False)


def _export_all(model: keras.Model, out: Path, choice: dict[str, Any], as_json: bool, **limits: Any) -> None:
    """Export all precisions to a folder, and say which is the choice."""
    from kerasft.export import ladder

    given = {name: value for name, value in limits.items() if value is not None}
    found = ladder(model, out, **choice, **given)
    if as_json:
        say(found.to_json())
    else:
        from rich.console import Console

        from kerasft.commands.report_text import comparison

        Console().print(comparison(found), highlight=False)
        files = ", ".join(sorted(p.name for p in out.iterdir()))
        say("\n".join([*found.remarks(), f"In {out}: {files}"]))
    if found.choice is None:
        raise typer.Exit(1)


def _add_clients(
    report: Report | TrainableReport,
    holdout: tf.data.Dataset | None,
    pack: Path | None,
    web: Path | None,
    overwrite: bool,
    note: Callable[[str], object],
) -> None:
    """Write a golden pack and a web page for an exported file, as far as they are asked for."""
    from kerasft.export import to_pack, to_web

    if pack is not None:
        note(str(to_pack(report, pack, golden=_golden(holdout, report), overwrite=overwrite)))
    if web is not None:
        folder = to_web(report, web, overwrite=overwrite)
        note(f"{folder}: a page; python -m http.server --directory {folder} shows it on port 8000")


def _golden(
    holdout: tf.data.Dataset | None, report: Report | TrainableReport
) -> np.ndarray | dict[str, np.ndarray]:
    """Golden inputs of a pack: the first images to test, or random numbers in the model's range."""
    import numpy as np

    from kerasft.export.model import random_values

    if holdout is not None:
        return next(iter(holdout))[0].numpy()[:8]
    rng = np.random.default_rng(0)
    inputs = next(iter(report.signatures.values())).inputs  # of a file that trains, those of `features`
    floats = [t.name for t in inputs if t.scale or "float" in t.dtype]
    return {
        t.name: random_values(
            rng,
            (8, *t.shape[1:]),
            "float32" if t.scale else t.dtype,
            # of floats and token ids, say, the range is that of the floats
            report.input_range if t.name in floats or not floats else None,
        )
        for t in inputs
    }
