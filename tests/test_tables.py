"""Tables as plain text."""

from rich.table import Table

from kerasft.tables import plain_table, plain_text


def test_a_table_has_no_colors_and_no_blanks_at_the_end_of_lines():
    table = Table("[bold]name[/bold]", title="things", box=None)
    table.add_row("one")
    lines = plain_text(table, width=40).split("\n")
    assert [line.strip() for line in lines] == ["things", "name", "one"]
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_columns_are_aligned_and_markup_is_text():
    text = plain_table(["phase", "from"], [["0", "[head]"], ["10", ""]])
    assert text == "phase  from\n0      [head]\n10"
