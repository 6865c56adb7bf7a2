"""Tables for terminals, and as plain text."""

import pytest
from html_tables import Shown
from rich.table import Table
from web_page import chromium

from kerasft.tables import FittingTable, html_of, html_table, plain_table, plain_text

HOSTILE = "<script>alert('x')</script> & \"co\""


def test_a_table_has_no_colors_and_no_blanks_at_the_end_of_lines():
    table = Table("[bold]name[/bold]", title="things", box=None)
    table.add_row("one")
    lines = plain_text(table, width=40).split("\n")
    assert [line.strip() for line in lines] == ["things", "name", "one"]
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_columns_are_aligned_and_markup_is_text():
    text = plain_table(["phase", "from"], [["0", "[head]"], ["10", ""]])
    assert text == "phase  from\n0      [head]\n10"


@pytest.fixture
def trials():
    columns = ("trial", "score", "recipe", "trains from", "rate", "epochs", "seconds", "")
    table = FittingTable(*columns, title="trials")
    table.add_row("17", "0.9876", "one stage at a time", "block_12 (3)", "1.0e-03", "5", "1234.5", "")
    table.add_row("3", "", "frozen head", "head (17)", "1.0e-02", "5", "9.0", "stopped as unlikely")
    return table


@pytest.mark.parametrize("width", range(12, 140, 4))
def test_no_width_breaks_a_number_or_a_word(trials, width):
    text = plain_text(trials, width=width)
    words = text.replace("│", " ").replace("┃", " ").split()
    for word in ("17", "0.9876", "block_12", "(3)", "1.0e-03", "1234.5", "9.0", "unlikely"):
        assert word in words or width < 24, (width, word)
    assert "…" not in text and max(map(len, text.splitlines())) <= max(width, 28)


def test_a_wide_terminal_shows_a_table_and_a_narrow_one_blocks(trials):
    assert "┃ trial ┃ score" in plain_text(trials, width=120)
    narrow = plain_text(trials, width=40).splitlines()
    assert narrow[:4] == ["trials", "17", "  score 0.9876", "  recipe one stage at a time"]
    assert "  stopped as unlikely" in narrow and "│" not in "".join(narrow)


def test_a_table_that_was_narrow_is_wide_again(trials):
    wide = plain_text(trials, width=120)
    plain_text(trials, width=90)
    assert plain_text(trials, width=120) == wide


def test_html_shows_every_text_as_it_is():
    text = html_table(["name", HOSTILE], [["a", "1"], [HOSTILE, ""]], title=HOSTILE, notes=[HOSTILE])
    shown = Shown(text)
    assert shown.rows == [["name", HOSTILE], ["a", "1"], [HOSTILE, ""]]
    assert shown.beside == [HOSTILE, HOSTILE]
    assert set(shown.tags) == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


def test_columns_of_numbers_stand_to_the_right_in_html():
    columns = dict.fromkeys(("1,290", "-0.5", "1.0e-03"), "right")
    columns |= dict.fromkeys(("", "–", "block_1"), "left")
    shown = Shown(html_table(list(columns), [list(columns), [""] * len(columns)]))
    cells = [style for style in shown.styles if style.startswith("text-align")]
    assert [style.split("; ")[0].removeprefix("text-align: ") for style in cells] == [*columns.values()] * 3


def test_a_table_without_rows_has_its_header():
    assert Shown(html_table(["a", "b"], [])).rows == [["a", "b"]]


def test_a_table_of_rich_is_the_same_in_html(trials):
    trials.caption = "all of them"
    shown = Shown(html_of(trials))
    assert shown.beside == ["trials", "all of them"]
    assert shown.rows[0][:3] == ["trial", "score", "recipe"] and len(shown.rows) == 3
    assert shown.rows[2][-1] == "stopped as unlikely"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.process
@pytest.mark.parametrize(
    ("page", "ink"), [("black", "rgb(230, 230, 230)"), ("white", "rgb(0, 0, 0)")], ids=["dark", "light"]
)
def test_a_notebook_shows_it_in_its_own_colors(trials, page, ink):
    with chromium() as browser:
        tab = browser.new_page()
        tab.set_content(f'<body style="background: {page}; color: {ink}">{html_of(trials)}')
        for tag in ("th", "td", "caption"):
            for name, value in {"color": ink, "backgroundColor": "rgba(0, 0, 0, 0)"}.items():
                found = tab.evaluate(f"getComputedStyle(document.querySelector('{tag}')).{name}")
                assert found == value, (tag, name)
