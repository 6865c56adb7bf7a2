"""A folder of text files, whose classes its folders name."""

from __future__ import annotations

from pathlib import Path

from kerasft.data.layout import understood
from kerasft.data.listing import TEXTS, kinds_of, listed
from kerasft.data.source import TextSource
from kerasft.data.text_table import texts_source

_SHOWN = 10


def read_text_folder(root: Path, skip_corrupt: bool, layout: str | None = None) -> TextSource:
    """Read the .txt files, in UTF-8, of a folder of class folders."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"There is no folder {root}. Give a folder with a folder of .txt files for each class, a "
            f"CSV file, "
            'JSON lines, or "tfds:NAME".'
        )
    tree = listed(root, TEXTS)
    found = understood(tree, layout)
    texts, labels, parts, names, bad = [], [], [], [], {}
    for part, label, folder in found.members:
        for path in folder.all_files():
            try:
                texts.append(path.read_bytes().decode("utf-8-sig"))
            except (UnicodeDecodeError, OSError) as error:
                is_text = isinstance(error, UnicodeDecodeError)
                bad[path] = f"no UTF-8 text (byte {error.start:,})" if is_text else str(error)  # type: ignore[union-attr]
                continue
            labels.append(label)
            parts.append(part)
            names.append(str(path))
    notes = list(found.notes)
    if bad and not skip_corrupt:
        shown = "\n".join(f"- {path}: {bad[path]}" for path in list(bad)[:_SHOWN])
        more = f"\n- and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        raise ValueError(
            f"{len(bad)} of {len(texts) + len(bad)} texts can't be read. Save them in UTF-8, or pass "
            f"skip_corrupt=True (--skip-corrupt):\n{shown}{more}"
        )
    if bad:
        notes.append(f"{len(bad):,} of {len(texts) + len(bad):,} texts can't be read, and are left out.")
    others = tree.all_others()
    if others:
        notes.append(f"{len(others):,} files are left out, as they are no .txt files: {kinds_of(others)}.")
    left_out = (*found.unused, *others)
    return texts_source(texts, labels, parts, found.classes, names, notes, tuple(bad), left_out)
