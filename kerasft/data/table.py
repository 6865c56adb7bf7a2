"""A CSV file with a path and a label for each picture."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasft.data.folder import files_source
from kerasft.data.layout import part_named
from kerasft.data.source import LabelledSource

SUFFIXES = (".csv", ".tsv")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_PATHS = {
    "path", "paths", "file", "files", "filename", "filepath", "image", "images", "imagepath", "imagefile",
    "imagename", "img", "imgpath", "imgname", "picture", "photo",
}  # fmt: skip
LABELS = {
    "label", "labels", "class", "classes", "classname", "classid", "category", "categoryname", "categoryid",
    "target", "labelname", "labelid", "y",
}  # fmt: skip
SPLITS = {"split", "part", "partition", "subset", "set", "usage"}
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")  # in a column for one class
_LOOKED_AT = 50  # rows whose paths are looked up to find the column
_SHOWN = 5


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file.

    Attributes:
        path: The file.
        names: The names of the columns; "column 1" and so on where the file has none.
        rows: The cells of each row.
        lines: The line on which each row ends, from 1.
    """

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, index: int) -> list[str]:
        """The cells of a column, without spaces about them."""
        return [row[index].strip() for row in self.rows]

    def columns_named(self, words: set[str]) -> list[int]:
        """The columns with one of several names, whatever their case, spaces, dashes and underscores."""
        return [i for i, name in enumerate(self.names) if re.sub(r"[\s_-]", "", name.lower()) in words]

    def refusal(self, what: str) -> ValueError:
        """An error about the columns, which lists them."""
        return ValueError(f"{self.path}: {what} Its columns are {', '.join(map(repr, self.names))}.")


def read_table(path: Path, skip_corrupt: bool) -> LabelledSource:
    """Read the pictures that a CSV file lists.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, or could be one of several; a row is not as long as the others, has
            no path or label, or names a file that can't be read (the message lists them).
    """
    table = table_of(path, "a path", has_path_column, _has_file)
    at = _path_column(table)
    parts = part_column(table, at)
    labels, class_names, used = labels_of(table, [at] if parts is None else [at, parts[0]])
    files = [_located(path.parent, text) for text in table.column(at)]
    _require_files(table, at, files)
    notes = unused_columns(table, {at, *used} | (set() if parts is None else {parts[0]}))
    _require_one_label(table, files, [class_names[label] for label in labels])
    found = [0] * len(files) if parts is None else parts[1]
    return files_source(files, labels, found, class_names, skip_corrupt, notes, ())


def unused_columns(table: Table, known: set[int]) -> list[str]:
    """A note on the columns that are not known."""
    ignored = [repr(name) for i, name in enumerate(table.names) if i not in known]
    return [f"{table.path}: the columns {', '.join(ignored)} are not used."] if ignored else []


def table_of(path: Path, what: str, suits: Callable[[Table], bool], is_row: Callable[[Table], bool]) -> Table:
    """Read a CSV file, with the delimiter that gives all rows the same number of cells.

    Args:
        path: The file.
        what: What a row has beside its label, for messages.
        suits: Whether a table has the columns that are needed, where several delimiters are possible.
        is_row: Whether the names of a table's columns are none: its first row is a row like the others.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no UTF-8 text (byte {error.start:,}). Save it as CSV in UTF-8."
        ) from None
    parsed, reasons = {}, []
    for delimiter, name in _DELIMITERS.items():
        try:
            rows, lines = _rows(text, delimiter)
        except csv.Error as error:
            reasons.append(f"with {name} it can't be read: {error}")
            continue
        widths = {len(row) for row in rows}
        if len(widths) == 1 and widths != {1}:
            parsed[delimiter] = rows, lines
        elif len(rows) > 0 and len(rows[0]) > 1:
            line, row = next((n, row) for n, row in zip(lines, rows, strict=True) if len(row) != len(rows[0]))
            reasons.append(f"with {name}, line {line} has {len(row)} cells and the first line {len(rows[0])}")
    if not parsed:
        said = "; ".join(reasons) or "it has no two columns"
        raise ValueError(f"{path} has no rows of one length, with {what} and a label each: {said}.")
    tables = [_headed(path, *rows, is_row) for rows in parsed.values()]
    if len(tables) > 1:  # a label with a semicolon in each row, say
        tables = [table for table in tables if suits(table)]
    if len(tables) != 1:
        names = " or ".join(_DELIMITERS[delimiter] for delimiter in parsed)
        raise ValueError(
            f"{path} could be separated by {names}. Put quotes about cells that contain the others."
        )
    if not tables[0].rows:
        raise ValueError(f"{path} has no rows below its header.")
    return tables[0]


def _rows(text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows, lines = [], []
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append(row)
            lines.append(reader.line_num)
    return rows, lines


def _headed(path: Path, rows: list[list[str]], lines: list[int], is_row: Callable[[Table], bool]) -> Table:
    """Take the first row as the header, unless it is a row like the others."""
    first = [cell.strip() for cell in rows[0]]
    table = Table(path, first, rows[1:], lines[1:])
    if is_row(table):
        return Table(path, [f"column {i + 1}" for i in range(len(first))], rows, lines)
    return table


def _has_file(table: Table) -> bool:
    return any(_located(table.path.parent, cell).is_file() for cell in table.names if cell)


def _located(folder: Path, text: str) -> Path:
    """A path of the table, which counts from its folder; written on Windows, too."""
    plain = folder / text
    return folder / text.replace("\\", "/") if "\\" in text and not plain.exists() else plain


def _are_files(table: Table, index: int) -> bool:
    cells = table.column(index)[:_LOOKED_AT]
    return bool(cells) and all(cell and _located(table.path.parent, cell).is_file() for cell in cells)


def has_path_column(table: Table) -> bool:
    return bool(table.columns_named(_PATHS)) or any(_are_files(table, i) for i in range(len(table.names)))


def _path_column(table: Table) -> int:
    """The column of paths: by its name, or because its cells are files."""
    named = table.columns_named(_PATHS)
    if len(named) == 1:
        return named[0]
    files = [i for i in named or range(len(table.names)) if _are_files(table, i)]
    if len(files) == 1:
        return files[0]
    if not named and not files:
        raise table.refusal(
            f"no column holds paths of files, counted from {table.path.parent}. Call one 'path'."
        )
    several = " and ".join(repr(table.names[i]) for i in files or named)
    raise table.refusal(f"{several} could be the column of paths. Keep one of them.")


def part_column(table: Table, paths: int) -> tuple[int, list[int]] | None:
    """The column that says the part of each row, and the parts."""
    found = []
    for index in table.columns_named(SPLITS):
        cells = table.column(index)
        parts = [part_named(cell) for cell in cells]
        wrong = sorted({cell for cell, part in zip(cells, parts, strict=True) if part is None})
        if index == paths or (wrong and all(part is None for part in parts)):
            continue
        if wrong:
            raise table.refusal(
                f"{table.names[index]!r} is train, validation or test; received "
                f"{', '.join(map(repr, wrong[:_SHOWN]))}."
            )
        found.append((index, [part for part in parts if part is not None]))
    if len(found) > 1:
        names = " and ".join(repr(table.names[index]) for index, _ in found)
        raise table.refusal(f"{names} both say the part of a row. Keep one of them.")
    if found and 0 not in found[0][1]:
        raise table.refusal(f"{table.names[found[0][0]]!r} calls no row 'train'.")
    return found[0] if found else None


def labels_of(table: Table, taken: Sequence[int]) -> tuple[list[int], tuple[str, ...], list[int]]:
    """The label of each row, the names of the classes, and the columns that say so."""
    rest = [i for i in range(len(table.names)) if i not in taken]
    named = [i for i in table.columns_named(LABELS) if i in rest]
    if not named and len(rest) == 1:
        named = rest
    if len(named) > 1 and _one_to_one(table, named):  # a number and a name of the same class
        text = [i for i in named if not _are_numbers(table.column(i))]
        named = text if len(text) == 1 else named
    if len(named) == 1:
        return (*_classes(table, named[0]), named)
    if named:
        several = " and ".join(repr(table.names[i]) for i in named)
        raise table.refusal(f"{several} could be the label. Keep one of them.")
    hot = [i for i in rest if {cell.lower() for cell in table.column(i)} <= {*_YES, *_NO}]
    if len(hot) > 1:
        return _one_hot(table, hot), tuple(table.names[i] for i in hot), hot
    raise table.refusal("no column is the label. Call one 'label', or give each class a column of 0 and 1.")


def _one_to_one(table: Table, columns: Sequence[int]) -> bool:
    """Whether each value of one column goes with one value of each other."""
    counts = [len(set(table.column(i))) for i in columns]
    together = len(set(zip(*(table.column(i) for i in columns), strict=True)))
    return set(counts) == {together}


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\d+(\.0+)?", cell) for cell in cells)


def _classes(table: Table, index: int) -> tuple[list[int], tuple[str, ...]]:
    """Labels that are names, in the order of the alphabet, or numbers, in theirs."""
    cells = table.column(index)
    empty = [str(line) for cell, line in zip(cells, table.lines, strict=True) if not cell]
    if empty:
        raise table.refusal(f"{table.names[index]!r} is empty in the lines {', '.join(empty[:_SHOWN])}.")
    if _are_numbers(cells):
        numbers = sorted({int(float(cell)) for cell in cells})
        place = {number: label for label, number in enumerate(numbers)}
        return [place[int(float(cell))] for cell in cells], tuple(map(str, numbers))
    names = sorted(set(cells))
    at = {name: label for label, name in enumerate(names)}
    return [at[cell] for cell in cells], tuple(names)


def _one_hot(table: Table, columns: Sequence[int]) -> list[int]:
    cells = [table.column(c) for c in columns]
    hot = [[i for i, cell in enumerate(row) if cell.lower() in _YES] for row in zip(*cells, strict=True)]
    wrong = [n for n, found in enumerate(hot) if len(found) != 1]
    if wrong:
        lines = ", ".join(str(table.lines[n]) for n in wrong[:_SHOWN])
        raise table.refusal(
            f"the columns of 0 and 1 name one class in each row, but not in the lines {lines}: there are "
            f"{len(hot[wrong[0]])} in the first of them. A classifier of kerasft gives each row one class."
        )
    return [found[0] for found in hot]


def _require_files(table: Table, at: int, files: Sequence[Path]) -> None:
    """Raise where no path leads to a file: one that is missing among others is reported with the damaged."""
    if not any(file.exists() for file in files):
        raise table.refusal(
            f"none of the {len(files):,} paths in {table.names[at]!r} is there, such as {files[0]}. Paths "
            f"count from {table.path.parent}: write the folders between, and the ending of each file, or "
            "move the CSV file."
        )


def _require_one_label(table: Table, files: Sequence[Path], labels: Sequence[str]) -> None:
    seen: dict[Path, tuple[str, int]] = {}
    for file, label, line in zip(files, labels, table.lines, strict=True):
        other, before = seen.setdefault(file, (label, line))
        if other != label:
            raise ValueError(
                f"{table.path} gives {file} two labels: {other!r} in line {before} and {label!r} in line "
                f"{line}."
            )
