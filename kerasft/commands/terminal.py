"""What the commands of `kerasft` share: the application, its options, and how it speaks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Fine-tune a TF Hub backbone with Keras, and export it to the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option(help="Folder for the results; made by the command.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Seed = Annotated[int, typer.Option(help="Seed of weights and shuffling.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Allow a backbone's operations to touch files or run code.")
]


def numbers(text: str, kind: type, option: str, count: int | None = None) -> list[Any]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} takes numbers separated by commas; received {text!r}.") from None
    if count is not None and len(numbers) != count:
        raise ValueError(f"{option} takes {count} numbers; received {text!r}.")
    return numbers


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def load_images(
    data: str,
    image_size: int,
    batch_size: int,
    seed: int,
    limit: int | None,
    skip_corrupt: bool,
    data_dir: Path | None,
) -> Any:
    """The images, and a line on what they are."""
    from kerasft.data import load_dataset

    images = load_dataset(
        data,
        image_size=image_size,
        batch_size=batch_size,
        seed=seed,
        limit=limit,
        skip_corrupt=skip_corrupt,
        data_dir=data_dir,
    )
    for path in images.skipped:
        say(f"skipped: {path}")
    say(
        f"{images.name}: {images.train_size} images to train, {images.validation_size} to validate, "
        f"{images.test_size} to test, {len(images.class_names)} classes"
    )
    return images


def load_model(path: Path) -> Any:
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
def errors() -> Iterator[None]:
    """Turn an expected error into one message and an exit code of 1."""
    try:
        yield
    except typer.Exit:  # itself a RuntimeError
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("KERASFT_TRACEBACK"):
            raise
        from rich.console import Console

        console = Console(stderr=True)
        console.print("error:", style="bold red", end=" ")
        console.print(str(error) or type(error).__name__, markup=False, highlight=False)
        raise typer.Exit(1) from None


def say(text: str) -> None:
    typer.echo(text)
