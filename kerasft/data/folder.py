"""A folder of pictures, whose classes its folders name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasft.data.examine import examined
from kerasft.data.layout import understood
from kerasft.data.listing import kinds_of, listed
from kerasft.data.rule import PixelRule
from kerasft.data.source import LabelledSource

_SHOWN = 10


def read_folder(root: Path, skip_corrupt: bool, layout: str | None = None) -> LabelledSource:
    """Find the images of a folder of class folders, and look at each."""
    if not root.is_dir():
        wrong = f"There is no folder {root}"
        if root.exists():
            wrong = f"{root} is no folder, and its name does not end as that of a CSV file (.csv, .tsv)"
        raise FileNotFoundError(
            f"{wrong}. Give a folder with a folder of images for each class, a CSV file, "
            '"tfds:NAME", or "digits".'
        )
    tree = listed(root)
    found = understood(tree, layout)
    paths, labels, parts = [], [], []
    for part, label, folder in found.members:
        pictures = folder.all_files()
        paths += pictures
        labels += [label] * len(pictures)
        parts += [part] * len(pictures)
    notes = list(found.notes)
    others = tree.all_others()
    if others:
        notes.append(
            f"{len(others):,} files are left out, as they are no pictures of a kind that is read: "
            f"{kinds_of(others)}."
        )
    left_out = (*found.unused, *others)
    return files_source(paths, labels, parts, found.classes, skip_corrupt, notes, left_out)


def files_source(
    paths: Sequence[Path],
    labels: Sequence[int],
    parts: Sequence[int],
    class_names: tuple[str, ...],
    skip_corrupt: bool,
    notes: Sequence[str],
    left_out: Sequence[Path],
) -> LabelledSource:
    """Look at labelled files, and make a source of those that can be read."""
    findings = examined(paths)
    bad = {i: finding.damage for i, finding in enumerate(findings) if finding.damage is not None}
    if bad and not skip_corrupt:
        shown = "\n".join(f"- {paths[i]}: {bad[i]}" for i in list(bad)[:_SHOWN])
        more = f"\n- and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        raise ValueError(
            f"{len(bad)} of {len(paths)} images can't be read. Mend or remove them, or pass "
            f"skip_corrupt=True (--skip-corrupt):\n{shown}{more}"
        )
    keep = [i for i in range(len(paths)) if i not in bad]
    said = list(notes)
    for count, what in (
        (len(bad), "can't be read, and are left out"),
        (
            sum(findings[i].alpha for i in keep),
            "have an alpha channel or a transparent colour; what is transparent gets the background's colour",
        ),
        (sum(findings[i].turned for i in keep), "are turned upright, as their EXIF orientation says"),
    ):
        if count:
            said.append(f"{count:,} of {len(paths):,} images {what}.")
    names = tuple(str(paths[i]) for i in keep)

    def read(row: int, rule: PixelRule, size: int) -> np.ndarray:
        return rule.read(names[row], size)

    return LabelledSource(
        read=read,
        labels=np.array([labels[i] for i in keep], "int32"),
        class_names=class_names,
        digests=tuple(findings[i].digest for i in keep),
        parts=np.array([parts[i] for i in keep], int),
        names=names,
        skipped=tuple(paths[i] for i in bad),
        left_out=tuple(left_out),
        notes=tuple(said),
    )
