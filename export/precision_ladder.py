"""All precisions of a model at once, side by side, and the one to take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from .clients import ScoreCalibration
from .conversion import converter_process
from .draft import Draft, at_layers, check_drop, check_limits, finisher, measure, variants_of
from .errors import ExportError
from .files import check_target, replacing
from .ladder_choice import VARIANTS, Ladder, check_preference, choose, reason_of_loss
from .ladder_figure import draw
from .model import Subject
from .report import check_pixels
from .text import Text, check_text
from .tflite_file import losses

_MAX_DROP = 0.01


def ladder(
    model: keras.Model,
    directory: str | os.PathLike[str],
    *,
    holdout: Any = None,
    representative_data: Any = None,
    variants: Sequence[str] | None = None,
    max_drop: float | None = None,
    max_bytes: int | None = None,
    max_ms: float | None = None,
    prefer: str = "size",
    labels: Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    normalization: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    pixels: Mapping[str, str] | None = None,
    text: Text | None = None,
    metadata: bool = False,
    score_calibration: ScoreCalibration | None = None,
    calibration_samples: int = 128,
    batch: int | None = 1,
    strict: bool = True,
    overwrite: bool = False,
) -> Ladder:
    """Export a model at every precision, measure all files on the same data, and choose one.

    The model is converted once, and the holdout read once. Written into `directory` are `NAME.tflite` for
    each variant, `ladder.json`, and `ladder.png` (with `kerasft[plots]`): accuracy by size, with latency.

    The choice is the best of the files within the limits, by `prefer`: "size" takes the smallest, and of
    those within 10 % of its size the fastest; "latency" the fastest, and of those within 10 % of its time the
    smallest; "accuracy" the most accurate, and of those within 0.1 points of it the smallest. Size comes
    first by default because it is the same on every device, where the latency is this machine's. A file that
    takes integers (`int8_io`) is only chosen if no other is left.

    Args:
        model: A built Functional or Sequential model.
        directory: A folder, made if it is missing.
        holdout: As for `to_tflite`. Where no accuracy can be measured, the table and the reason say so.
        representative_data: As for `to_tflite`; without it int8 is left out, and `failures` tells so.
        variants: Names out of VARIANTS; all by default.
        max_drop: Largest loss of accuracy, in 0…1; None for 0.01 where accuracy can be measured. A number
            where it can't is an error.
        max_bytes: Largest file, in bytes.
        max_ms: Longest time of a sample on this machine, on one thread, in milliseconds.
        prefer: "size", "latency" or "accuracy".
        labels: Names of the classes, as for `to_tflite`.
        input_range: Lowest and highest input value that the graph expects, as for `to_tflite`.
        normalization: (mean, std) that the client has to apply, as for `to_tflite`.
        pixels: How files of pictures became pixels in training, as for `to_tflite`.
        text: How a text becomes token ids, as for `to_tflite`.
        batch: 1, or None for files that take any batch size.
        strict: As for `to_tflite`.
        score_calibration: As for `to_tflite`.
        calibration_samples: As for `to_tflite`.
        metadata: As for `to_tflite`; variants that MediaPipe can't take are written without, and
            `without_metadata` tells why.
        overwrite: Replace existing files.

    Returns:
        Reports, the choice, and what int8 loses by if it loses too much. `print` shows it as a table.

    Raises:
        TypeError, ValueError: An argument is wrong.
        FileExistsError, OSError: A file can't be written.
        ExportError: No variant could be written.

    Example:
        ```python
        found = kerasft.export.ladder(model, "models", holdout=test, representative_data=train, max_ms=20)
        print(found)
        shutil.copy(f"models/{found.choice}.tflite", "app/assets/")
        ```
    """
    folder, names = Path(directory), list(VARIANTS) if variants is None else list(variants)
    _check_targets(folder, names, overwrite)
    check_limits(max_drop=max_drop, max_bytes=max_bytes, max_ms=max_ms)
    rule = check_pixels(pixels)
    check_preference(prefer)
    converter_process()  # it begins while the model is looked at
    subject = Subject.of(
        model, batch=batch, labels=labels, input_range=input_range, normalization=normalization,
        holdout=holdout, representative_data=representative_data, text=check_text(text),
        calibration_samples=calibration_samples,
    )  # fmt: skip
    if prefer == "accuracy" and subject.not_measured:
        raise ValueError(f'prefer="accuracy" needs measured accuracies, but {subject.not_measured}.')
    if max_drop is not None and subject.not_measured:
        check_drop(None, max_drop, subject.not_measured)
    finish = finisher(subject, metadata, score_calibration)
    drafts: dict[str, Draft] = {}
    failures: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    without: dict[str, str] = {}
    with _made(folder), variants_of(subject, strict=strict) as made, contextlib.ExitStack() as files:
        attempts: dict[str, contextlib.ExitStack] = {}
        for name in names:
            precision, io = VARIANTS[name]
            if precision == "int8" and subject.calibration is None:
                failures[name] = "int8 needs representative_data."
                continue
            try:
                content, maker = made.make(precision, io)
                try:
                    content = finish(content)
                except ValueError as error:  # MediaPipe takes floats and uint8
                    without[name] = str(error)
                contents[name] = content
                with contextlib.ExitStack() as attempt, at_layers(subject, content):
                    # a refused file must not get its name
                    partial = attempt.enter_context(replacing(folder / f"{name}.tflite", overwrite=overwrite))
                    drafts[name] = Draft.checked(content, precision, io, maker, subject, partial, None)
                    attempts[name] = files.enter_context(attempt.pop_all())
            except ExportError as error:
                failures[name] = str(error)
        for name, failure in measure(drafts, subject).items():
            failures[name] = failure
            del drafts[name]
            refused = ExportError(failure)
            with contextlib.suppress(ExportError), attempts.pop(name):
                raise refused
        if not drafts:
            raise ExportError(f"No variant could be written. {_grouped(failures)}")
        if without.keys() >= drafts.keys():
            raise ValueError(next(iter(without.values())))
        if max_drop is not None and all(draft.quality is None for draft in drafts.values()):
            check_drop(None, max_drop, next(iter(drafts.values())).not_measured)
        reports = {
            name: replace(
                draft.report(folder / f"{name}.tflite", subject, metadata and name not in without),
                pixels=rule,
            )
            for name, draft in drafts.items()
        }
        allowed = _MAX_DROP if max_drop is None else max_drop
        choice, reason = choose(reports, allowed, max_bytes, max_ms, prefer)
        lost: tuple[str, ...] = ()
        int8 = next((name for name in ("int8", "int8_io") if name in contents), "")
        quality = reports[int8].quality if int8 in reports else None
        if int8 in failures or (quality is not None and quality.drop > allowed):
            with contextlib.suppress(RuntimeError, ValueError):  # a file that does not run
                lost = tuple(map(str, losses(made.float32, contents[int8], subject.samples[:4])))
            reason += f" {reason_of_loss(quality, lost)}"
        drafts.clear()  # Windows renames no file that is open
    found = Ladder(reports, failures, choice, reason, lost, {n: without[n] for n in without if n in reports})
    with replacing(folder / "ladder.json", overwrite=overwrite) as partial:
        partial.write_text(found.to_json())
    draw(found.reports, found.choice, folder / "ladder.png", allowed, overwrite)
    return found


def _grouped(failures: Mapping[str, str]) -> str:
    """Why variants failed, each reason once."""
    names: dict[str, list[str]] = {}
    for name, why in failures.items():
        names.setdefault(why, []).append(name)
    return " ".join(f"{', '.join(those)}: {why}" for why, those in names.items())


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and take it away again if an error leaves it empty."""
    there = folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if not there:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def _check_targets(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Raise unless all variants exist and all files can be written."""
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ValueError(f"There are no variants {unknown}; there are {list(VARIANTS)}.")
    if not names:
        raise ValueError(f"variants is empty; there are {list(VARIANTS)}.")
    if not folder.is_dir():
        check_target(folder, overwrite=False)
        return
    for name in [*(f"{n}.tflite" for n in names), "ladder.json", "ladder.png"]:
        check_target(folder / name, overwrite=overwrite)
