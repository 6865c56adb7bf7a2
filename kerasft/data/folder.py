"""A folder of class folders."""

from __future__ import annotations

import concurrent.futures
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasft.data.source import LabelledSource

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def _decode(path: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image


def read_folder(root: Path, skip_corrupt: bool) -> LabelledSource:
    """Find the images of a folder of class folders, and check that each can be decoded."""
    if not root.is_dir():
        raise FileNotFoundError(
            f'There is no folder {root}. Give a folder with a folder of images for each class, "tfds:NAME", '
            'or "digits".'
        )
    folders = {p.name: p for p in _subfolders(root)}
    roots = {0: root}
    if "train" in folders:
        held = {2: folders.get("test"), 1: folders.get("validation", folders.get("val"))}
        roots = {0: folders["train"], **{part: p for part, p in held.items() if p is not None}}
    names = [p.name for p in _subfolders(roots[0])]
    if not names:
        raise ValueError(f"{roots[0]} has no folders; make one for each class and put its images there.")
    paths: list[Path] = []
    labels: list[int] = []
    parts: list[int] = []
    for part, base in roots.items():
        extra = {p.name for p in _subfolders(base)} - set(names)
        if extra:
            raise ValueError(f"{base} has classes that {roots[0]} lacks: {sorted(extra)}.")
        for label, name in enumerate(names):
            files = sorted(
                p
                for p in (base / name).rglob("*")
                if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".") and p.is_file()
            )
            if not files:
                raise ValueError(f"{base / name} holds no image ({', '.join(_SUFFIXES)}).")
            paths += files
            labels += [label] * len(files)
            parts += [part] * len(files)
    digests, bad = _examined(paths)
    if bad and not skip_corrupt:
        shown = "\n".join(f"- {paths[i]}: {bad[i]}" for i in list(bad)[:10])
        raise ValueError(
            f"{len(bad)} of {len(paths)} images can't be read. Mend or remove them, or pass "
            f"skip_corrupt=True (--skip-corrupt):\n{shown}"
        )
    keep = [i for i in range(len(paths)) if i not in bad]
    return LabelledSource(
        np.array([str(paths[i]) for i in keep]),
        np.array([labels[i] for i in keep], "int32"),
        _decode,
        tuple(names),
        tuple(digests[i] for i in keep),
        np.array([parts[i] for i in keep], int),
        tuple(paths[i] for i in sorted(bad)),
    )


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _examined(paths: Sequence[Path]) -> tuple[list[str], dict[int, str]]:
    """The sha256 of each file, and those that can't be decoded, with the reason."""

    def check(path: Path) -> tuple[str, str | None]:
        content = path.read_bytes()
        reason = None
        try:
            tf.io.decode_image(content, channels=3, expand_animations=False)
        except (tf.errors.OpError, ValueError) as error:
            reason = re.sub(r"{{.*?}}\s*|\[Op:.*", "", str(error)).strip()[:120]
        return hashlib.sha256(content).hexdigest(), reason

    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(check, paths))
    return [digest for digest, _ in found], {i: why for i, (_, why) in enumerate(found) if why is not None}
