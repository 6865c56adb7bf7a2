"""What the names of folders mean: classes, parts, or groups of classes."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kerasft.data.listing import IMAGES, Folder, kinds_of
from kerasft.data.split import PARTS

LAYOUTS = ("classes", "groups")
_AS_CLASSES, _AS_GROUPS = (f'layout="{name}" (--layout {name})' for name in LAYOUTS)
_TRAIN, _VALIDATION, _TEST = range(3)
_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), _TRAIN),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), _VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), _TEST),
}
_OPEN = ("eval", "evaluation")  # validation to some people, test to others
_WORD = re.compile(r"([a-z]+?)[ _-]*(?:set|data|images|imgs|pictures|photos|texts?|split|folder)?[ _-]*\d*")
_SHOWN = 6


@dataclass
class Layout:
    """What a folder was understood to be.

    Attributes:
        classes: The names of the classes.
        members: A part, a label and a folder, whose pictures belong there, those of its folders too.
        unused: Pictures that belong nowhere.
        notes: What was understood, where that is worth a word.
    """

    classes: tuple[str, ...]
    members: list[tuple[int, int, Folder]] = field(default_factory=list)
    unused: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def part_named(name: str) -> int | None:
    """The part that a usual name means, in any case: 0 train, 1 validation, 2 test; None for another name.

    Example:
        >>> [part_named(name) for name in ("Training", "valid", "TEST_SET", "testers")]
        [0, 1, 2, None]
    """
    word = _WORD.fullmatch(name.strip().lower())
    return None if word is None else _WORDS.get(word[1])


def understood(root: Folder, layout: str | None = None) -> Layout:
    """Read a folder's folders as classes, or as parts with classes; refuse what has two readings.

    Args:
        root: The folder.
        layout: "classes" if each folder (of the root, or of each part) is a class whatever its name, "groups"
            if these folders have the classes as folders; None reads them by their names.

    Raises:
        ValueError: There is no class, or there are two readings; the message shows both.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout is one of {', '.join(LAYOUTS)}, or None; received {layout!r}.")
    notes: list[str] = []
    top = root if layout else _unwrapped(root, notes)
    _require_folders(top)
    parts = _parts(top, layout)
    found = _divided(top, parts, layout) if parts else _whole(top, layout)
    found.notes[:0] = notes
    if found.unused:
        found.notes.append(
            f"{len(found.unused):,} {root.kind.many} lie in no folder of a class, so they have no label "
            f"and are left "
            f"out: {_some([str(path) for path in found.unused], 3)}"
        )
    return found


def _unwrapped(
    folder: Folder, notes: list[str], part: int | None = None, known: Sequence[str] | None = None
) -> Folder:
    """Go down while a folder holds nothing but one folder that holds the classes.

    That one folder as the only class would be no classifier, so there is one reading. `part` is what the
    folder is named as, `known` are the classes that the folders have to be, if they are known.
    """
    while len(folder.folders) == 1 and not folder.files:
        (inner,) = folder.folders
        names = {f.name for f in inner.folders if f.all_files()}
        if not names or inner.files or part_named(inner.name) not in (None, part):
            break
        if known is None and len(names) < 2 and all(part_named(name) is None for name in names):
            break
        if known is not None and (inner.name in known or not names <= set(known)):
            break
        notes.append(f"{folder.path} holds one folder alone, {inner.name!r}: its folders are taken.")
        folder = inner
    return folder


def _require_folders(folder: Folder) -> None:
    if folder.folders:
        return
    if folder.files:
        raise ValueError(
            f"{folder.path} has {len(folder.files):,} {folder.kind.many} and no folders: the class of "
            f"{'an' if folder.kind.one[0] in 'aeiou' else 'a'} {folder.kind.one} is the name of its folder. "
            "Make a folder for each class, or give a CSV file with the columns "
            f"{'path' if folder.kind == IMAGES else 'text'} and label."
        )
    raise ValueError(
        f"{folder.path} has no folders; make one for each class and put its {folder.kind.many} there."
    )


def _parts(root: Folder, layout: str | None) -> dict[int, Folder]:
    """The folders that are parts, with one for training; empty where the folders are classes."""
    found: dict[int, list[Folder]] = {}
    for folder in root.folders:
        part = part_named(folder.name)
        if part is not None:
            found.setdefault(part, []).append(folder)
    held = [part for part in (_VALIDATION, _TEST) if part in found]
    unsure = [folder for folder in root.folders if folder.name.strip().lower() in _OPEN]
    if _TRAIN in found and unsure:
        if len(held) != 1 or len(unsure) > 1:
            raise ValueError(
                f"{root.path} has the folder {unsure[0].name!r}, which may be for validation, which chooses "
                "among epochs, or for the test, which nothing looks at before the end. Call it validation "
                "or test."
            )
        found[_TEST + _VALIDATION - held[0]] = unsure
    twice = next((folders for folders in found.values() if len(folders) > 1), None)
    if twice and any(_has_classes(folder) for folder in twice):
        names = " and ".join(repr(folder.name) for folder in twice)
        meant = PARTS[part_named(twice[0].name) or 0]
        raise ValueError(
            f"{root.path} has {names}, which both mean {meant}. Put their {root.kind.many} into one, or "
            f"move one "
            "of them away."
        )
    if not found:
        return {}
    if not any(_has_classes(folder) for folder in found.get(_TRAIN, [])):
        if layout is None:
            _refuse_part_names(root, found)
        return {}
    return {part: folders[0] for part, folders in found.items()}


def _has_classes(folder: Folder) -> bool:
    return any(inner.all_files() for inner in folder.folders)


def _refuse_part_names(root: Folder, found: dict[int, list[Folder]]) -> None:
    """Raise where folders have names of parts, and no train folder with classes makes them parts."""
    named = [folder for folders in found.values() for folder in folders]
    others = [folder.name for folder in root.folders if folder not in named and folder.all_files()]
    names = ", ".join(repr(folder.name) for folder in named)
    if any(_has_classes(folder) for folder in named) or not others:
        lacking = f"loose {root.kind.many} and no folders for classes"
        if _TRAIN not in found:
            lacking = "no folder 'train' beside"
        raise ValueError(
            f"{root.path} has folders named as parts ({names}), but {lacking}. Put a folder for each class, "
            f"with its {root.kind.many}, into a folder 'train', and those of other parts into theirs; "
            f"or, if these "
            f"folders are the classes, pass {_AS_CLASSES}. If a CSV file has the labels, give that."
        )
    raise ValueError(
        f"{root.path} has {names} beside {_some(others)}, which has two readings. If all are classes, pass "
        f"{_AS_CLASSES}. If {names} holds other {root.kind.many} of the same classes, put the class folders "
        f"{_some(others)} into a folder 'train', and give the other folder a folder for each class (without "
        f"them its {root.kind.many} have no label)."
    )


def _refuse_repeats(root: Folder) -> None:
    """Raise where folders below several folders have the same name: there may be one level too many."""
    seen: Counter[str] = Counter()
    for folder in root.folders:
        inner = (f for f in folder.walk() if f is not folder and f.all_files())
        seen.update({f.name.lower() for f in inner})
    repeated = [name for name, count in sorted(seen.items()) if count > 1]
    if repeated:
        names = [folder.name for folder in root.folders]
        raise ValueError(
            f"{root.path} has two readings: its folders ({_some(names)}) have folders of the same names in "
            f"them ({_some(repeated)}). If {_some(names)} are the classes, with the {root.kind.many} of "
            f"their folders, "
            f"pass {_AS_CLASSES}. If {_some(repeated)} are classes, and {_some(names)} groups of "
            f"{root.kind.many}, "
            f"pass {_AS_GROUPS}. If they are parts, call them train, validation and test."
        )


def _classes(folder: Folder, layout: str | None) -> tuple[dict[str, list[Folder]], list[Path]]:
    """The folders of each class, and the pictures that are in none of them."""
    if layout is None:
        _refuse_repeats(folder)
    if layout != "groups":
        for inner in folder.folders:
            _require_files(inner)
        return {inner.name: [inner] for inner in folder.folders}, list(folder.files)
    found: dict[str, list[Folder]] = {}
    for group in folder.folders:
        for inner in group.folders:
            if inner.all_files():
                found.setdefault(inner.name, []).append(inner)
    if not found:
        raise ValueError(
            f'layout="groups" takes the folders in the folders of {folder.path}; there are none.'
        )
    loose = [path for group in (folder, *folder.folders) for path in group.files]
    return dict(sorted(found.items())), loose


def _require_files(folder: Folder) -> None:
    if not folder.all_files():
        others = folder.all_others()
        there = f"; there are {kinds_of(others)}" if others else ""
        raise ValueError(
            f"{folder.path} holds no {folder.kind.one} of a kind that is read "
            f"({', '.join(sorted(folder.kind.suffixes))}){there}. Put {folder.kind.many} there, or move "
            f"the folder away."
        )


def _whole(root: Folder, layout: str | None) -> Layout:
    """All pictures are in one part, that for training, which is divided later."""
    classes, loose = _classes(root, layout)
    members = [(_TRAIN, label, f) for label, folders in enumerate(classes.values()) for f in folders]
    return Layout(tuple(classes), members, loose)


def _divided(root: Folder, parts: dict[int, Folder], layout: str | None) -> Layout:
    """The folders are parts, whose folders are the classes of the part for training."""
    notes: list[str] = []
    train = parts[_TRAIN] if layout else _unwrapped(parts[_TRAIN], notes, _TRAIN)
    found = _whole(train, layout)
    found.unused += root.files
    found.notes += notes
    for part in (_VALIDATION, _TEST):
        if part in parts:
            _add_part(found, part, parts[part], train, layout)
    for folder in root.folders:
        if folder not in parts.values() and folder.all_files():
            found.unused += folder.all_files()
            found.notes.append(
                f"{folder.path} is left out: {root.path} has a folder for training, and {folder.name!r} is "
                "no name of another part."
            )
    return found


def _add_part(found: Layout, part: int, folder: Folder, train: Folder, layout: str | None) -> None:
    """Add the pictures of a part that is held out."""
    base = folder if layout else _unwrapped(folder, found.notes, part, found.classes)
    if not _has_classes(base):
        found.unused += base.all_files()
        found.notes.append(
            f"{folder.path} has no folders for classes, so it is left out; {base.kind.many} for "
            f"{PARTS[part]} are "
            f"taken from {train.path}."
        )
        return
    base.folders = [inner for inner in base.folders if inner.all_files()]
    inner, loose = _classes(base, layout)
    found.unused += loose
    extra = sorted(set(inner) - set(found.classes))
    if extra:
        near = difflib.get_close_matches(extra[0].lower(), [name.lower() for name in found.classes], n=1)
        hint = f" Near {extra[0]!r} is {near[0]!r}, case aside." if near else ""
        raise ValueError(
            f"{base.path} has classes that {train.path} lacks: {extra}.{hint} Classes have the same name in "
            f"all parts; if the {folder.kind.many} of {folder.path} have no labels, move it away."
        )
    lacking = [name for name in found.classes if name not in inner]
    if lacking:
        found.notes.append(f"{base.path} has no {base.kind.one} of {_some(lacking)}.")
    found.members += [
        (part, found.classes.index(name), f) for name, folders in inner.items() for f in folders
    ]


def _some(names: Sequence[str], most: int = _SHOWN) -> str:
    shown = ", ".join(names[:most])
    return shown + (f", … ({len(names):,} in all)" if len(names) > most else "")
