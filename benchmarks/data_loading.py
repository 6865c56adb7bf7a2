"""Memory, and time to the first batch, of folders of images: as `load_dataset` reads them, and decoded ahead.

    python benchmarks/data_loading.py [--counts 10000 50000] [--size 224] [--huge 10500 16000] [--folder DIR]

The plain side is a tf.data pipeline as people write it: TensorFlow decodes each image to see whether it is
whole, and then decodes, resizes and shuffles images, 10,000 in the buffer. Each side runs in a process of its
own, over the same files: small JPEGs, and then six PNGs of `--huge` pixels. Peak memory is the process's,
TensorFlow included.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

BATCH = 32
CLASSES = ("cat", "dog")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[10_000, 50_000])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--huge", type=int, nargs=2, default=[10_500, 16_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", choices=["kerasft", "plain"])
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measured(options.side, options.folder, options.size)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, images at {options.size}×{options.size}")
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        for count in options.counts:
            compare(f"{count:,} small JPEGs", small(Path(place) / str(count), count), options.size)
        if min(options.huge) > 0:
            width, height = options.huge
            compare(
                f"6 PNGs of {width:,}×{height:,}", huge(Path(place) / "huge", width, height), options.size
            )


def compare(what: str, folder: Path, size: int) -> None:
    """Run both sides, and print both and their ratio."""
    found = {}
    for side in ("plain", "kerasft"):
        command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--size", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print(what)
    for name, unit, form in (("first batch", "s", ".1f"), ("pass", "s", ".1f"), ("peak", "MB", ",.0f")):
        ours, plain = found["kerasft"][name], found["plain"][name]
        both = f"kerasft {ours:8{form}} {unit:3} plain {plain:8{form}} {unit:3}"
        print(f"  {name:12} {both} ratio {ours / plain:.3f}", flush=True)


def measured(side: str, folder: Path, size: int) -> dict[str, float]:
    """Seconds to the first batch, with the look at all files; seconds of a first pass; the peak of memory."""
    import tensorflow as tf

    from kerasft.data import load_dataset

    tf.zeros(1)
    begin = time.perf_counter()
    data = (
        load_dataset(folder, image_size=size, batch_size=BATCH).train
        if side == "kerasft"
        else plain(folder, size)
    )
    batches = iter(data)
    next(batches)
    first = time.perf_counter() - begin
    for _ in batches:
        pass
    whole = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first batch": first, "pass": whole, "peak": peak}


def plain(folder: Path, size: int):  # type: ignore[no-untyped-def]
    """The training part as a pipeline that decodes ahead."""
    import tensorflow as tf

    paths = [str(p) for name in CLASSES for p in sorted((folder / name).iterdir())]
    labels = [label for label, name in enumerate(CLASSES) for _ in (folder / name).iterdir()]

    def decode(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image.set_shape((None, None, 3))
        return image

    def check(path: str) -> None:
        decode(tf.constant(path))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(check, paths))
    rows = np.random.default_rng(0).permutation(len(paths))[: round(0.72 * len(paths))]
    data = tf.data.Dataset.from_tensor_slices((np.array(paths)[rows], np.array(labels)[rows]))
    data = data.map(
        lambda path, label: (tf.image.resize(decode(path), (size, size), antialias=True), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return data.shuffle(min(len(rows), 10_000), seed=0).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def small(folder: Path, count: int) -> Path:
    """A folder of JPEGs of 64×48, each of its own."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count // 2):
            pixels = rng.integers(0, 128, (6, 8, 3)) + 127 * label
            image = Image.fromarray(pixels.astype("uint8")).resize((64, 48), Image.Resampling.BICUBIC)
            image.save(folder / name / f"{i}.jpg")
    return folder


def huge(folder: Path, width: int, height: int) -> Path:
    """A folder of six large PNGs."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            image = Image.linear_gradient("L").resize((width, height))
            Image.merge(
                "RGB",
                [image, image.point(lambda v, i=i, label=label: (v + 40 * i + 20 * label) % 256), image],
            ).save(folder / name / f"{label}{i}.png", compress_level=1)
    return folder


if __name__ == "__main__":
    main()
