"""The commands that follow training: export, verify, inspect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasft.commands import options
from kerasft.commands.terminal import (
    errors,
    increasing,
    load_images,
    load_libraries,
    load_model,
    say,
    say_aside,
)

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from kerasft.data import ImageData, PixelRule, Split
    from kerasft.export import Report

ALL = "all"
RULE = "pixels.json"
PIXELS = (0.0, 255.0)  # what the models of finetune and search take


def export(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    out: Annotated[
        Path, typer.Option(help="A .tflite file; a folder for --precision all, or else for a SavedModel.")
    ],
    precision: Annotated[
        str | None, typer.Option(help="float32, float16, weight_only, dynamic, int8, or all to compare them.")
    ] = None,
    io: Annotated[
        str, typer.Option(help="What an int8 file takes and gives: float, int8 or uint8.")
    ] = "float",
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
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Add labels and normalization for MediaPipe Tasks.")
    ] = False,
    pack: Annotated[
        Path | None, typer.Option(help="Also a .zip with golden inputs, for `kerasft verify` elsewhere.")
    ] = None,
    web: Annotated[Path | None, typer.Option(help="Also a folder with a page that runs the file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
) -> None:
    """Export a Keras model to .tflite files that were verified in LiteRT, or to a SavedModel."""
    with errors():
        _check_choice(model, out, precision, (max_bytes, max_ms, prefer), pack or web)
        load_libraries()
        from kerasft.data import PixelRule
        from kerasft.export import to_saved_model, to_tflite

        loaded = load_model(model)
        if precision is None and out.suffix != ".tflite":
            path = to_saved_model(loaded, out, overwrite=overwrite)
            say(f"{path}: a reusable TF2 SavedModel; kerasft.hub.load_backbone({str(path)!r}) loads it")
            return
        note = say_aside if as_json else say
        choice: dict[str, Any] = {"overwrite": overwrite, "metadata": metadata}
        noted = _rule_beside(model)
        if data is not None:
            split, rule = _split_beside(model), noted or PixelRule()
            if split is None:
                note(
                    f"Beside {model} is no split.json, which says what images it was trained on: where these "
                    "are among the test images, the accuracy is too good."
                )
            side = _side(loaded)
            images = load_images(
                data,
                note,
                image_size=side,
                seed=seed,
                limit=limit,
                split=split,
                resize=resize or rule.resize,
                background=background or rule.background,
                layout=layout,
                skip_corrupt=skip_corrupt,
                data_dir=data_dir,
            )
            _check_classes(model, images.class_names)
            taken = _taken(loaded, input_range, images, model.with_name(RULE) if noted else None, note)
            choice |= {"input_range": taken, "labels": list(images.class_names)}
            choice |= {"holdout": _scaled(images.test, taken)}
            choice |= {"representative_data": _scaled(images.train, taken)}
            choice["pixels"] = images.pixels.to_dict()
        elif noted is not None:
            choice |= {"pixels": noted.to_dict(), "input_range": _implied(loaded) or PIXELS}
            if (beside := model.with_name("labels.txt")).exists():
                choice["labels"] = _read_labels(beside)
        if input_range is not None:
            choice["input_range"] = increasing(input_range, "--input-range")
        if labels is not None:
            choice["labels"] = _read_labels(labels)
        if max_drop is not None:
            choice["max_drop"] = max_drop
        if precision == ALL:
            _export_all(loaded, out, choice, as_json, max_bytes=max_bytes, max_ms=max_ms, prefer=prefer)
            return
        report = to_tflite(loaded, out, precision=precision or "float32", io=io, **choice)
        _show(report, as_json)
        _add_clients(report, choice.get("holdout"), pack, web, overwrite, note)


def _split_beside(model: Path) -> Split | None:
    """The split of the run that has made a model."""
    from kerasft.data import Split

    path = model.with_name("split.json")
    return Split.from_json(path) if path.exists() else None


def _rule_beside(model: Path) -> PixelRule | None:
    """The rule by which the run that has made a model read its images; None if it was no run of kerasft."""
    from kerasft.data import PixelRule

    path = model.with_name(RULE)
    return PixelRule.from_json(path) if path.exists() else None


def _check_classes(model: Path, names: tuple[str, ...]) -> None:
    """Raise ValueError if the images have other classes than those that the model's run has noted."""
    path = model.with_name("labels.txt")
    known = _read_labels(path) if path.exists() else list(names)
    if known != list(names):
        raise ValueError(
            f"{path} says that the model's classes are {known}, in this order; the images of --data have "
            f"{list(names)}. Give images of the same classes, or move labels.txt away if it is of another "
            "model."
        )


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        say(report.to_json())
        return
    from rich.console import Console

    from kerasft.commands.report_text import details, summary

    say(summary(report))
    Console().print(details(report), highlight=False)


def _check_choice(
    model: Path,
    out: Path,
    precision: str | None,
    limits: tuple[Any, ...],
    client: Path | None,
) -> None:
    """Raise if options contradict each other; `client` is the file or folder of a client, if any."""
    is_file = out.suffix == ".tflite"
    if model.is_dir():
        raise IsADirectoryError(
            f"{model} is a folder. Give a .keras file, such as model.keras in the folder of a run."
        )
    if not model.is_file():
        raise FileNotFoundError(f"There is no file {model}.")
    if precision == ALL and is_file:
        raise ValueError(f"--precision all writes several files: --out is a folder, not {out}.")
    if not is_file and precision not in (None, ALL):
        raise ValueError(f"--precision {precision} goes with an --out that ends in .tflite; received {out}.")
    if precision != ALL and any(limit is not None for limit in limits):
        raise ValueError("--max-bytes, --max-ms and --prefer choose among the files of --precision all.")
    if client is not None and not is_file:
        raise ValueError("--pack and --web go with an --out that ends in .tflite.")


def _read_labels(path: Path) -> list[str]:
    """The labels of a text file, one a line; an empty last line is the end of the one before it."""
    from kerasft.export import check_labels

    names = path.read_text(encoding="utf-8-sig").split("\n")
    names = names[:-1] if names[-1] == "" else names
    try:
        return list(check_labels(names, None))
    except ValueError as error:
        raise ValueError(f"{path} (its first line is label 0): {error}") from None


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
    report: Report,
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


def inspect(
    source: Annotated[str, typer.Argument(help="A backbone's handle or folder, a .keras or a .tflite file.")],
    at: Annotated[list[str] | None, typer.Option(help="A layer that begins a stage; repeatable.")] = None,
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

            Console().print(refusals(readiness(source)), highlight=False)
            return
        load_libraries()

        from kerasft.hub import load_backbone
        from kerasft.stages import find_stages

        model = load_model(Path(source)) if is_file else load_backbone(source, trust=trust)
        Console().print(find_stages(model, at=at))


def _side(model: keras.Model) -> int:
    """The side of the images that a model takes."""
    shape = tuple(model.inputs[0].shape)
    if len(model.inputs) != 1 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not shape[1]:
        raise ValueError(
            "--data gives square images in colour; the model takes "
            f"{[tuple(t.shape) for t in model.inputs]}. Use kerasft.export.to_tflite in Python, with "
            "data of your own."
        )
    return int(shape[1])


def _taken(
    model: keras.Model, given: str | None, images: ImageData, rule: Path | None, note: Callable[[str], object]
) -> tuple[float, float]:
    """The range of pixels that a model takes: as given, by its own rescaling, as its run did, or measured.

    `rule` is the file in which the model's run has noted its rule for pixels, if it was a run of kerasft.
    """
    from kerasft.commands.input_range import model_range

    if given is not None:
        stated = increasing(given, "--input-range")
        return model_range(model, images, note, stated) if len(model.outputs) == 1 else stated
    if (implied := _implied(model)) is not None:
        return implied
    return model_range(model, images, note, *(() if rule is None else (PIXELS, str(rule))))


def _implied(model: keras.Model) -> tuple[float, float] | None:
    """The range that a model's own rescaling decides, if it has any."""
    from kerasft.export.model import implied_range

    try:
        return implied_range(model)
    except ValueError as error:
        raise ValueError(f"{error} Pass --input-range LOW,HIGH.") from None


def _scaled(images: tf.data.Dataset, taken: tuple[float, float]) -> tf.data.Dataset:
    """Images of 0 to 255 in the range that a model takes."""
    low, high = taken
    if (low, high) == PIXELS:
        return images
    return images.map(lambda pixels, label: (low + pixels * ((high - low) / 255), label))


def _golden(holdout: tf.data.Dataset | None, report: Report) -> np.ndarray | dict[str, np.ndarray]:
    """Golden inputs of a pack: the first images to test, or random numbers in the model's range."""
    import numpy as np

    from kerasft.export.model import random_values

    if holdout is not None:
        return next(iter(holdout))[0].numpy()[:8]
    rng = np.random.default_rng(0)
    floats = [t.name for t in report.inputs if t.scale or "float" in t.dtype]
    return {
        t.name: random_values(
            rng,
            (8, *t.shape[1:]),
            "float32" if t.scale else t.dtype,
            # of floats and token ids, say, the range is that of the floats
            report.input_range if t.name in floats or not floats else None,
        )
        for t in report.inputs
    }
