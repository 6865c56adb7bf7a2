"""How the commands of `kerasft` read text, load what they need, and speak."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    import keras

    from kerasft.data import ImageData, TextData

Number = TypeVar("Number", int, float)
Loaded = TypeVar("Loaded", "ImageData", "TextData")


def say(text: str) -> None:
    """Write a line to the terminal."""
    typer.echo(text)


def say_aside(text: str) -> None:
    """Write a line to the terminal that is no part of the output."""
    typer.echo(text, err=True)


def numbers(text: str, kind: Callable[[str], Number], option: str, count: int | None = None) -> list[Number]:
    """Read numbers separated by commas.

    Raises:
        ValueError: It is something else, or there are not `count` of them; names the option.
    """
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} takes numbers separated by commas; received {text!r}.") from None
    if count is not None and len(found) != count:
        raise ValueError(f"{option} takes {count} numbers; received {text!r}.")
    return found


def pair(text: str, option: str) -> tuple[float, float]:
    """Read two numbers separated by a comma."""
    low, high = numbers(text, float, option, 2)
    return low, high


def increasing(text: str, option: str) -> tuple[float, float]:
    """Read two finite numbers separated by a comma, the lower one first."""
    low, high = pair(text, option)
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"{option} takes the lowest and the highest value, LOW,HIGH; received {text!r}.")
    return low, high


def words(text: str) -> list[str]:
    """Read words separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def load_images(data: str, say: Callable[[str], object] = say, **options: Any) -> ImageData:
    """Load images, and say in a line what they are.

    Args:
        data: The source.
        say: Is told what has to be known about them.
        **options: As in `kerasft.data.load_dataset`.
    """
    from kerasft.data import load_dataset

    return _loaded(load_dataset, data, "images", say, options)


def load_strings(data: str, say: Callable[[str], object] = say, **options: Any) -> TextData:
    """The same for texts, with the options of `kerasft.data.load_texts`."""
    from kerasft.data import load_texts

    return _loaded(load_texts, data, "texts", say, options)


def _loaded(
    load: Callable[..., Loaded], source: str, kind: str, say: Callable[[str], object], options: dict[str, Any]
) -> Loaded:
    from kerasft.export import check_labels

    log = logging.getLogger("kerasft.data")
    before = log.level
    log.setLevel(logging.ERROR)  # the notes are said below
    try:
        data = load(source, **options)
    finally:
        log.setLevel(before)
    for path in data.skipped:
        say(f"skipped: {path}")
    for note in data.notes:
        say(note)
    check_labels(data.class_names, None)
    say(
        f"{data.name}: {data.train_size:,} {kind} to train, {data.validation_size:,} to validate, "
        f"{data.test_size:,} to test, {len(data.class_names)} classes"
    )
    return data


def is_text(context: typer.Context, data: str, kind: str | None, data_dir: Path | None) -> bool:
    """Whether the data of a command are texts; options that say nothing about such data are refused.

    Raises:
        ValueError: `kind` is none, the data have two readings, or an option was given in vain.
    """
    from kerasft.data import kind_of

    if kind not in (None, "images", "text"):
        raise ValueError(f"--as is images or text; received {kind!r}.")
    found = (kind or kind_of(data, data_dir)) == "text"
    for_images, for_texts = (
        ("image_size", "input_range", "resize", "background"),
        ("vocab", "preprocessor", "length"),
    )
    sources = {name: context.get_parameter_source(name) for name in (for_images if found else for_texts)}
    given = [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(
            f"The data are {'texts' if found else 'images'}, and {options} says nothing about them: leave it "
            "out."
        )
    return found


def load_model(path: Path) -> keras.Model:
    """Load a Keras model for inference."""
    import keras

    return keras.models.load_model(path, compile=False)


def load_libraries() -> None:
    """Import TensorFlow without the start-up notes that it writes to the terminal by itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from kerasft.export.tflite_file import quiet

    sys.stderr.flush()
    with quiet():
        import tensorflow

        import kerasft.hub  # noqa: F401 - with it Keras, and the registration of Hub stages

        tensorflow.config.list_physical_devices()


@contextlib.contextmanager
def errors(out: Path | None = None) -> Iterator[None]:
    """Turn an expected error into one message and an exit code of 1, and Ctrl-C into one and 130.

    Args:
        out: The folder of a job that can be resumed.
    """
    try:
        yield
    except typer.Exit:  # itself a RuntimeError
        raise
    except KeyboardInterrupt:
        typer.echo(_how_to_go_on(out), err=True)
        raise typer.Exit(130) from None
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("KERASFT_TRACEBACK"):
            raise
        from rich.console import Console
        from rich.text import Text

        message = str(error) or type(error).__name__
        Console(stderr=True).print(Text.assemble(("error:", "bold red"), f" {message}"), highlight=False)
        raise typer.Exit(1) from None


def _how_to_go_on(out: Path | None) -> str:
    from kerasft.commands.workspace import is_begun

    if out is None or not is_begun(out):
        return "Stopped. Nothing was saved."
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    return f"Stopped. To go on:\n    {shlex.join(['kerasft', *words, '--resume'])}"
