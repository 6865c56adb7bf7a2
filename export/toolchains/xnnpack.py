"""A .tflite file in LiteRT with XNNPACK on this machine, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from ..errors import ExportError
from ..scratch import scratch

_MODULE = f"{__package__}.xnnpack_process"
_SECONDS = 600


def xnnpack_leaves(content: bytes) -> tuple[list[int], int]:
    """Run a file once, on zeros, and find the operations that XNNPACK leaves to LiteRT's own kernels.

    A file may come from anywhere, and LiteRT may crash on it: it runs in a process of its own.

    Args:
        content: The file's bytes.

    Returns:
        Their places in the order of the file's main graph, and how many operations that has.

    Raises:
        ExportError: LiteRT can't run the file.
    """
    with scratch() as folder:
        path = folder / "model.tflite"
        path.write_bytes(content)
        command = [sys.executable, "-m", _MODULE, str(path)]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"LiteRT did not run the file within {_SECONDS} seconds.") from error
    if ended.returncode != 0:
        raise ExportError(f"LiteRT's process ended by itself (exit status {ended.returncode})")
    answer = json.loads(ended.stdout)
    if isinstance(answer, str):
        raise ExportError(answer)
    left, count = answer
    return left, count
