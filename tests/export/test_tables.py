"""Tables as text."""

import doctest

from kerasft.export import tables as module
from kerasft.export.tables import plain_table


def test_the_example_runs():
    assert doctest.testmod(module).failed == 0


def test_cells_stay_on_their_line_and_as_they_are():
    long = "[bold]not markup[/bold] " * 50 + ":smile:"
    text = plain_table(["a", "[b]", "c"], [["1", long, ""], ["", "short", "end"]])
    assert text.splitlines() == [
        "a  [b]" + " " * (len(long) - 1) + "c",
        f"1  {long}",
        "   short" + " " * (len(long) - 3) + "end",
    ]
