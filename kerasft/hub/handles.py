"""resolve: from a handle to the local folder of a SavedModel."""

from __future__ import annotations

import os
import re
import urllib.error

import tensorflow as tf

_KAGGLE = re.compile(r"\w[\w.-]*(/\w[\w.-]*){3,4}")


def resolve(handle: str | os.PathLike[str]) -> str:
    """Find the local folder of a handle; tensorflow-hub downloads it if need be, into TFHUB_CACHE_DIR.

    Args:
        handle: As in `load_backbone`.

    Returns:
        The path of the SavedModel's folder.

    Raises:
        FileNotFoundError, ConnectionError, TypeError, ValueError: As in `load_backbone`.
    """
    if not isinstance(handle, str | os.PathLike):
        raise TypeError(f"A handle is a URL, a Kaggle handle or a folder, not {handle!r}.")
    handle = os.fspath(handle)
    if tf.io.gfile.isdir(handle):
        return handle
    if "://" not in handle:
        if os.path.exists(handle):
            raise ValueError(f"{handle} is a file. Give the folder that holds saved_model.pb.")
        if not _KAGGLE.fullmatch(handle):
            raise FileNotFoundError(
                f"There is no folder {handle!r}. Give the path of a SavedModel's folder, a URL, or a Kaggle "
                "handle of the form owner/model/framework/variation/version."
            )
        handle = f"https://www.kaggle.com/models/{handle}"
    import tensorflow_hub

    try:
        return tensorflow_hub.resolve(handle)
    except (OSError, urllib.error.URLError, tf.errors.OpError, EOFError) as error:
        raise ConnectionError(
            f"{handle} could not be downloaded: {error}. Check the address and the connection, or download "
            "the model by hand, unpack it, and give its folder."
        ) from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"tensorflow-hub can't resolve {handle!r}: {error}") from error
