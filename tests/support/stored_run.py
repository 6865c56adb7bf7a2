"""The folder of a run as its job writes it, made up, so that tests of its page need no training."""

import base64
import io
import json

import numpy as np
from PIL import Image

HOSTILE = '<script>alert("1")</script>'
STAGES = ("block_0", "block_1", "head")
CLASSES = (HOSTILE, "dog & cat", "owl")


def picture(side=32, kind="png", seed=0):
    """A data URI of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype("uint8")
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def report():
    """report.json: two phases of two epochs, and two files, one of which was refused."""
    return {
        "phases": [
            {"depth": 2, "from": "head", "epochs": 2, "trained": 28, "accuracy": 0.5, "val_accuracy": 0.25},
            {
                "depth": 1,
                "from": "block_1",
                "epochs": 2,
                "trained": 712,
                "accuracy": 0.75,
                "val_accuracy": 0.5,
            },
        ],
        "head_accuracy": 0.625,
        "accuracy": 0.7,
        "seconds": 12.3,
        "cache": {"replayed": [False, True, False, True]},
        "class_weights": {HOSTILE: 1.5, "dog & cat": 1.0, "owl": 0.5},
        "not_exported": {"int8": "differs by 0.3"},
        "exports": {
            "float32": {
                "path": "model.tflite",
                "precision": "float32",
                "size_bytes": 13_490_000,
                "quality": {"accuracy_file": 0.7, "drop": 0.0, "interval": [-0.01, 0.02]},
                "parity": {"max_abs": 8.1e-06},
                "speed": {"ms": {"1": 1.25, "2": 0.9}},
                "versions": {"ai_edge_litert": "2.3.0"},
            }
        },
        "history": {
            "loss": [1.0, 0.8, 0.6, 0.4],
            "val_loss": [1.1, 0.9, 0.8, 0.7],
            "accuracy": [0.25, 0.5, 0.625, 0.75],
            "val_accuracy": [0.25, 0.25, 0.5, 0.5],
            "freeze_depth": [2, 2, 1, 1],
            "phase": [0, 0, 1, 1],
        },
    }


def evidence():
    """evidence.json: ten test samples, of which three are wrong."""
    return {
        "version": 1,
        "settings": {"handle": "tfhub/<b>", "image_size": 32, "batch_norm": "inference", "decay": 0.8,
                     "learning_rate": 0.001, "seed": 7, "trust": False},
        "data": {
            "kind": "images", "name": "pictures", "train": 20, "validation": 5, "test": 10,
            "classes": list(CLASSES), "class_counts": [4, 6, 10],
            "skipped": {"count": 1, "names": ["owl/<img src=x onerror=alert(1)>.png"]},
            "left_out": {"count": 120, "names": [f"notes_{i}.txt" for i in range(100)]},
            "notes": ["1 of 36 images can't be read, and are left out."],
        },
        "versions": {"kerasft": "0.1.0", "python": "3.12.1"},
        "stages": [{"name": name, "parameters": 1234} for name in STAGES],
        "measured": ["The head, solved on 20 samples, has an accuracy of 0.600 ± 0.110."],
        "phases": [
            {"from": "head", "epochs": 2, "patience": None, "monitor": None, "learning_rate": None,
             "warmup_steps": 0},
            {"from": "block_1", "epochs": 2, "patience": None, "monitor": None, "learning_rate": 0.0005,
             "warmup_steps": 10},
        ],
        "optimizer": {"class": "AdamW", "weight_decay": 0.004},
        "loss": "sparse_categorical_crossentropy",
        "epochs": [
            {"rates": [0.0, 0.0, 0.001], "distance": [0.0, 0.0, 0.1]},
            {"rates": [0.0, 0.0, 0.001], "distance": [0.0, 0.0, 0.2]},
            {"rates": [0.0, 0.0004, 0.0005], "distance": [0.0, 0.01, 0.3]},
            {"rates": [0.0, 0.0004, 0.0005], "distance": [0.0, 0.02, 0.4]},
        ],
        "moved": [0.0, 0.02, 0.4],
        "evaluation": {
            "classes": list(CLASSES),
            "confusion": [[0, 0, 2], [0, 1, 1], [1, 1, 3], [1, 0, 2], [2, 2, 2]],
            "wrong": [
                {"true": 1, "predicted": 0, "score": 0.9, "name": "dog/3.png", "picture": picture(),
                 "side": 32},
                {"true": 0, "predicted": 1, "score": 0.8, "name": f"{HOSTILE}.png",
                 "picture": picture(96, "jpeg"), "side": 96},
                {"true": 1, "predicted": 0, "score": 0.6, "name": "dog/5.png",
                 "picture": 'x" onerror="alert(1)', "side": 32},
            ],
        },
        "usage": 'In Python:\n    model = keras.models.load_model("out/model.keras")\n',
    }  # fmt: skip


def trials():
    """trials.json: three trials, one of which has failed."""
    common = {"values": {"learning_rate": 0.0012, "layerwise_decay": 0.75}, "epochs": 3, "seconds": 4.5}
    return [
        {"trial": "0", "recipe": "frozen_head", "depth": 2, "trains_from": "head", "status": "completed",
         "score": 0.5, **common},
        {"trial": "1", "recipe": "head_then_all", "depth": 0, "trains_from": "block_0", "status": "stopped",
         "score": 0.75, **common},
        {"trial": "2", "recipe": "head_then_all", "depth": 1, "trains_from": HOSTILE, "status": "failed",
         "score": None, **common},
    ]  # fmt: skip


def write(folder, **files):
    """Write JSON files by the names of their arguments; text as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return folder
