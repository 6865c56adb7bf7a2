"""Pictures for tests, made by Pillow."""

import numpy as np
from PIL import Image


def write_classes(root, classes=("cat", "dog"), count=10, seed=0, suffix=".png", size=(5, 6)):
    """A folder of class folders with files 0.png, 1.png, …: the classes differ in brightness."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 100, (size[1], size[0], 3)) + 100 * label
            Image.fromarray(pixels.astype("uint8")).save(root / name / f"{i}{suffix}")
    return root
