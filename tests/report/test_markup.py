"""HTML that is put together from parts."""

from html_text import Page

from kerasft.report.markup import Markup, element, escaped, table


def test_text_is_escaped_everywhere():
    nasty = "\"><script>'&\x00\udcff"
    made = element("p", nasty, element("b", nasty), title=nasty, class_="c", data_x=None)
    parsed = Page(made)
    shown = "\"><script>'&\ufffd\\udcff"
    assert [tag for tag, _ in parsed.tags] == ["p", "b"] and parsed.tags[0][1] == {
        "title": shown,
        "class": "c",
    }
    assert parsed.text[""] == f" {shown} {shown}"
    made.encode("utf-8")  # half characters of file names can be written
    assert escaped(Markup("<i>")) == "<i>"


def test_columns_of_numbers_stand_to_the_right():
    rows = [["a", 1, "–", "x"], ["b", "−2.5 MB", "3", "4"]]
    cells = [attributes.get("class") for tag, attributes in Page(table("abcd", rows)).tags if tag == "td"]
    assert cells == ["number", "number", None] * 2
