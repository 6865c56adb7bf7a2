"""Keras model to float .tflite, by a converter in a process of its own that a crash can't take further."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

from ..errors import ExportError
from ..files import out_of_space
from ..model import layers_named_in, serving_of, tables_of, told
from ..parity import Sample
from ..scratch import scratch
from ..tflite_file import quiet

# -P: what lies beside the script hides no module of another package
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("converter.py")))


class Converter:
    """The converter's process: begun at once, asked when a model is ready, kept for the next one."""

    def __init__(self) -> None:
        self.notes: IO[bytes] = tempfile.TemporaryFile()
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.notes, env=environment
        )
        self.owner = os.getpid()

    @property
    def alive(self) -> bool:
        """Whether it can be asked: not after a fork, and not after it has ended."""
        return self.owner == os.getpid() and self.process.poll() is None

    def convert(
        self,
        folder: Path,
        precision: str,
        io: str,
        samples: Sequence[Sample],
        model: keras.Model | None = None,
        signatures: Sequence[str] = ("serving_default",),
    ) -> bytes:
        """Convert signatures of a SavedModel; `model` is what it was made of, for messages.

        Raises:
            ExportError: The converter refused the model, or crashed; the message names the operations.
        """
        out, arrays = folder.with_suffix(".tflite"), folder.with_suffix(".npz")
        request: dict[str, Any] = {
            "saved_model": str(folder), "out": str(out), "precision": precision, "io": io,
            "signatures": list(signatures),
        }  # fmt: skip
        if precision == "int8":
            named = {f"{i}/{name}": v for i, sample in enumerate(samples) for name, v in sample.items()}
            np.savez(arrays, **named)  # type: ignore[arg-type]
            request["samples"] = str(arrays)
        begin = self.notes.seek(0, os.SEEK_END)
        answer = self._ask(request)
        self.notes.seek(begin)
        notes = self.notes.read().decode(errors="replace")
        if answer is None:
            raise ExportError(_crash(self.process.wait(), notes, model))
        if not answer["ok"] and (full := out_of_space(OSError(answer["error"]))) is not None:
            raise OSError(full, f"{folder.parent}: {answer['error']}")
        if not answer["ok"]:
            raise ExportError(_refusal(answer["error"], model))
        return out.read_bytes()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            return None
        except BaseException:  # interrupted: its answer would be taken for the next one's
            self.stop()
            raise
        return json.loads(line) if line else None

    def stop(self) -> None:
        """End the process."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self.notes):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]


_kept: list[Converter] = []


def converter_process() -> Converter:
    """The converter's process; a new one if there is none."""
    if _kept and not _kept[0].alive:
        _kept.pop().stop()
    if not _kept:
        _kept.append(Converter())
    return _kept[0]


def stop() -> None:
    """End the converter's process, which otherwise lives as long as this one, for the next export."""
    while _kept:
        _kept.pop().stop()


atexit.register(stop)


@contextlib.contextmanager
def saved(model: keras.Model, batch: int | None, signature: Any = None) -> Iterator[Path]:
    """A temporary SavedModel of a model's inference, traced here or before, for the converter."""
    with scratch() as parent:
        folder = parent / "model"
        module = tf.Module()
        module.model_variables = [v.value for v in model.variables]
        module.tables = tables_of(model)
        signature = signature or serving_of(model, batch)
        with quiet(), told(model, "can't be saved for the converter", REPLACE):
            tf.saved_model.save(module, str(folder), signatures=signature)
        yield folder


REPLACE = "Replace the layer, or leave that part out of the exported model."
_LOOKUP = (
    "TFLite looks up and splits no words: export the part that begins with the ids, and look them up before, "
    "with layer.get_vocabulary(); to_saved_model takes the whole model."
)
# What to do about operations, by the beginning of their names.
_REMEDIES = {
    "EagerPyFunc": "A file holds no Python: write the function with TensorFlow's own operations.",
    "PyFunc": "A file holds no Python: write the function with TensorFlow's own operations.",
    "Print": "Leave the printing out.",
    "HashTable": _LOOKUP,
    "LookupTable": _LOOKUP,
    "AsString": _LOOKUP,
    "String": _LOOKUP,
}


# What begins a report of the converter; a note may print the whole program.
_REPORT = re.compile(r"^(?:loc\(.*\)|\S+): (error|note|warning|remark): ", re.MULTILINE)


def _refusal(error: str, model: keras.Model | None) -> str:
    named = _named_operations(error)
    _, *reports = _REPORT.split(error)
    errors = [text for kind, text in zip(reports[::2], reports[1::2], strict=True) if kind == "error"]
    lines = [line.strip() for line in (errors or [error])[-1].splitlines() if line.strip()]
    what = ", ".join(named) or "it"
    if model is not None and (layers := layers_named_in(model, error)):
        what += f" of {', '.join(layers)}"
    known = [text for name, text in _REMEDIES.items() if any(n.startswith(f"tf.{name}") for n in named)]
    if "xf64" in error:
        known.append('TFLite computes in float32: build the model with dtype="float32".')
    remedy = known[0] if known else REPLACE
    return (
        f"TFLite's built-in operations do not cover the model: {what} can't be converted. {remedy} "
        f"The converter said: {' '.join(lines)[-600:]}"
    )


def _crash(code: int, notes: str, model: keras.Model | None = None) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    named = _named_operations(notes)
    if model is not None:
        named += layers_named_in(model, notes)
    where = f" at {', '.join(named)}" if named else ""
    last = " ".join(line.strip() for line in notes.splitlines()[-3:] if line.strip())[:600]
    return (
        f"TFLite's converter crashed{where} ({how}); it runs in a process of its own, so nothing else was "
        "lost. Replace the operation, or leave that part out of the exported model. Its last output: "
        f"{last or 'none'}"
    )


def _named_operations(text: str) -> list[str]:
    """Names of operations in a message of the converter, such as tf.Igamma, each once."""
    return list(dict.fromkeys(re.findall(r"\b(?:tf|tfl)\.[A-Z_][A-Za-z0-9_]*\b", text)))
