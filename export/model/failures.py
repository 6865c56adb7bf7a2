"""Errors of layers, of Keras and of TensorFlow, told as what the export could not do and at which layer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from types import TracebackType

import keras

from ..errors import ExportError
from ..files import out_of_space
from .layer_names import layers_named_in


@contextlib.contextmanager
def told(model: keras.Model, what: str, remedy: str) -> Iterator[None]:
    """Raise each error inside the block as an ExportError that names the layer which failed.

    Args:
        model: The user's model.
        what: What can't be done, such as "can't be run on the holdout".
        remedy: What to do about it.
    """
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()  # the layers' own frames are among those that it leaves out
    try:
        yield
    except (ExportError, OSError, MemoryError):
        raise
    except Exception as error:
        if (full := out_of_space(error)) is not None:
            raise OSError(full, str(error)) from error
        where = failed_layer(error) or ", ".join(layers_named_in(model, str(error)))
        at = f": the layer {where} fails" if where else ""
        raise ExportError(
            f"{model.name!r} {what}{at}. {type(error).__name__}: {plain(str(error))} {remedy}"
        ) from error
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()


def failed_layer(error: BaseException) -> str:
    """The innermost layer, no model, in whose call an error was raised, with its class; "" if none was."""
    found = ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        if isinstance(owner, keras.Layer) and not isinstance(owner, keras.Model):
            found = f"{owner.name!r} ({type(owner).__name__})"
        step = step.tb_next
    return found


def plain(text: str, most: int = 400) -> str:
    """A message on one line, without colours, cut to a length, ending in a full stop."""
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    line = line if len(line) <= most else line[:most].rstrip() + " …"
    return line if line.endswith((".", "…", "!")) else f"{line}."
