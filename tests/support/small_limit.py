"""Writes files that are larger than this process may write, and says what came of it, as JSON.

The limit is the system's own (RLIMIT_FSIZE): each write beyond it fails, as on a full disk.
"""

import json
import os
import resource
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import kerasft
from kerasft import export
from kerasft.files import write_text

LIMIT = 60_000


def main(folder: Path) -> None:
    """Try every writer."""
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(300)])
    model.compile("sgd", "mse")
    report = export.to_tflite(model, folder / "whole.tflite")
    for name in ("old.tflite", "old.zip", "old.json"):
        (folder / name).write_text("old")
    x = np.zeros((8, 100), "float32")
    backup = kerasft.BackupAndRestore(folder / "backup")
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    writers = {
        "saved_model": lambda: export.to_saved_model(model, folder / "saved"),
        "plain_saved_model": lambda: export.to_saved_model(model, folder / "saved", reusable=False),
        "tflite": lambda: export.to_tflite(model, folder / "old.tflite", overwrite=True),
        "ladder": lambda: export.ladder(model, folder / "all", variants=["float32"]),
        "pack": lambda: export.to_pack(report, folder / "old.zip", golden=x, overwrite=True),
        "text": lambda: write_text(folder / "old.json", "x" * 2 * LIMIT),
        "backup": lambda: model.fit(x, np.zeros((8, 300)), verbose=0, callbacks=[backup]),
    }
    said = {}
    for name, write in writers.items():
        try:
            write()
            said[name] = ["nothing", ""]
        except Exception as error:
            said[name] = [type(error).__name__, str(error)]
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
