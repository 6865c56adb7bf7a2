"""Tables for terminals and as plain text, drawn by rich, and as HTML for notebooks."""

from __future__ import annotations

import io

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kerasft.export.tables import html_table, plain_table

__all__ = ["FittingTable", "html_of", "html_table", "plain_table", "plain_text"]


class FittingTable(Table):
    """A table of rich that breaks no word and no number: where it is too wide, each row becomes a few lines.

    Example:
        >>> table = FittingTable("stage", "parameters")
        >>> table.add_row("head", "1,290")
        >>> print(plain_text(table, width=18))
        head
          parameters 1,290
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [[str(column.header), *map(str, column.cells)] for column in self.columns]
        spans = [
            [Measurement.get(console, options, console.render_str(cell)) for cell in cells] for cells in rows
        ]
        least = [max(span.minimum for span in column) for column in spans]
        most = [max(span.maximum for span in column) for column in spans]
        left = options.max_width - sum(least) - 3 * len(least) - 1  # two blanks and a line for each column
        if left < 0:
            yield from self._blocks(rows)
            return
        for column, low, high in zip(self.columns, least, most, strict=True):
            column.width = min(high, low + left)
            left -= column.width - low
        yield from super().__rich_console__(console, options)

    def _blocks(self, columns: list[list[str]]) -> RenderResult:
        """The rows as blocks of lines, the first cell above and the others after their headers."""
        if self.title:
            yield Text(str(self.title), style="italic")
        for first, *others in zip(*(cells[1:] for cells in columns), strict=True):
            yield Text.from_markup(first)
            for cells, cell in zip(columns[1:], others, strict=True):
                if cell:
                    yield Text.from_markup(f"  {cells[0]} {cell}".replace("   ", "  "))
        if self.caption:
            yield Text(str(self.caption), style="italic")


def plain_text(table: Table, width: int = 110) -> str:
    """A table of rich as text without colors.

    Args:
        table: The table.
        width: The most characters of a line.
    """
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().split("\n"))


def html_of(table: Table) -> str:
    """A table of rich as HTML, as `html_table` makes it."""
    columns = [list(map(str, column.cells)) for column in table.columns]
    return html_table(
        [str(column.header) for column in table.columns],
        zip(*columns, strict=True),
        title=str(table.title or ""),
        notes=[str(table.caption)] if table.caption else [],
    )
