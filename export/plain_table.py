"""A table as plain text, for reports that are printed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out in columns under a header, without lines, styles or wrapping.

    Example:
        >>> print(plain_table(["target", "pieces"], [["gpu", "1"], ["xnnpack", "2"]]))
        target   pieces
        gpu      1
        xnnpack  2
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in header:
        table.add_column(Text(name), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    text = io.StringIO()
    Console(file=text, width=100_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
