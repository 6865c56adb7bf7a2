"""A CSV file, or JSON lines, with a text and a label in each row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from kerasft.data.source import TextSource
from kerasft.data.table import LABELS, SPLITS, Table, labels_of, part_column, table_of, unused_columns

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_TEXTS = {
    "text", "texts", "sentence", "sentences", "review", "reviews", "content", "comment", "tweet", "message",
    "body", "document", "phrase", "utterance", "headline",
}  # fmt: skip
_LOOKED_AT = 200
_SHOWN = 5


def read_text_table(path: Path) -> TextSource:
    """Read the texts and labels of a CSV file, of JSON lines, or of a JSON list of objects.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, or could be one of several; or a row is not like the others.
    """
    table = json_table(path) if path.suffix.lower() in JSON_SUFFIXES else text_table(path)
    at = _text_column(table)
    parts = part_column(table, at)
    labels, class_names, used = labels_of(table, [at] if parts is None else [at, parts[0]])
    notes = unused_columns(table, {at, *used} | (set() if parts is None else {parts[0]}))
    found = [0] * len(labels) if parts is None else parts[1]
    names = [f"{path}, line {line}" for line in table.lines]
    texts = [row[at] for row in table.rows]
    return texts_source(texts, labels, found, class_names, names, notes)


def texts_source(
    texts: list[str],
    labels: list[int],
    parts: list[int],
    class_names: tuple[str, ...],
    names: list[str],
    notes: list[str],
    skipped: tuple[Path, ...] = (),
    left_out: tuple[Path, ...] = (),
) -> TextSource:
    """A source of texts, without the empty ones, which are counted."""
    keep = [i for i, text in enumerate(texts) if text.strip()]
    if len(keep) < len(texts):
        first = next(names[i] for i, text in enumerate(texts) if not text.strip())
        notes = [
            *notes,
            f"{len(texts) - len(keep):,} of {len(texts):,} texts are empty and are left out ({first}).",
        ]
    return TextSource(
        texts=tuple(texts[i] for i in keep),
        labels=np.array([labels[i] for i in keep], "int32"),
        class_names=class_names,
        parts=np.array([parts[i] for i in keep], int),
        names=tuple(names[i] for i in keep),
        skipped=skipped,
        left_out=left_out,
        notes=tuple(notes),
    )


def text_table(path: Path) -> Table:
    """Read a CSV file of texts."""
    return table_of(path, "a text", has_text_column, _is_row)


def has_text_column(table: Table) -> bool:
    """Whether a table has a column of texts: by its name, or because its cells have several words."""
    return bool(table.columns_named(_TEXTS)) or any(_has_words(table, i) for i in range(len(table.names)))


def json_table(path: Path) -> Table:
    """Read JSON lines, an object in each, or a list of objects, as a table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is no object of texts and numbers with the keys of the first; names the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text (byte {error.start:,}). Save it in UTF-8.") from None
    found = list(enumerate(_json_list(content), 1)) or [
        (number, _json_line(path, number, line))
        for number, line in enumerate(content.split("\n"), 1)
        if line.strip()
    ]
    if not found:
        raise ValueError(f"{path} has no lines.")
    names = list(found[0][1]) if isinstance(found[0][1], dict) else []
    rows = []
    for number, entry in found:
        if not isinstance(entry, dict) or not names or set(entry) != set(names):
            received = sorted(entry) if isinstance(entry, dict) else entry
            raise ValueError(
                f'{path}, line {number}: each line is an object such as {{"text": "…", "label": "…"}} with '
                f"the keys of the first ({', '.join(names)}); received {received!r}."
            )
        rows.append([_cell(path, number, name, entry[name]) for name in names])
    return Table(path, names, rows, [number for number, _ in found])


def _json_list(content: str) -> list[Any]:
    if not content.lstrip().startswith("["):
        return []
    try:
        found = json.loads(content)
    except json.JSONDecodeError:
        return []
    return found if isinstance(found, list) else []


def _json_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}.") from None


def _cell(path: Path, number: int, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{path}, line {number}: {name!r} is a text or a number; received {value!r}.")


def _text_column(table: Table) -> int:
    """The column of texts: by its name, or because its cells have several words."""
    named = table.columns_named(_TEXTS)
    if len(named) == 1:
        return named[0]
    others = set(table.columns_named(LABELS) + table.columns_named(SPLITS))
    found = [i for i in named or range(len(table.names)) if i not in others and _has_words(table, i)]
    if len(found) == 1 and not named:
        return found[0]
    if not named and not found:
        raise table.refusal("no column holds texts of several words. Call one 'text'.")
    several = " and ".join(repr(table.names[i]) for i in found or named)
    raise table.refusal(f"{several} could be the text. Keep one of them, or call one alone 'text'.")


def _has_words(table: Table, index: int) -> bool:
    cells = table.column(index)[:_LOOKED_AT]
    return 2 * sum(" " in cell for cell in cells) > len(cells)


def _is_row(table: Table) -> bool:
    """Whether the first row is no header: it has no usual name, and its label is one of those below it."""
    if table.columns_named(_TEXTS | LABELS | SPLITS):
        return False
    return any(
        not _has_words(table, i)
        and cell
        and (cell in table.column(i) or re.fullmatch(r"\d+", cell) is not None)
        for i, cell in enumerate(table.names)
    )
