"""What a reader sees of a table in HTML, read by Python's own parser."""

from html.parser import HTMLParser


class Shown(HTMLParser):
    """The tags of a piece of HTML, its styles, and the text of each cell, caption and paragraph.

    Attributes:
        rows: The text of the cells of each row.
        beside: The text of captions and paragraphs.
        tags: All tags that were opened.
        styles: All styles that they have.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.beside: list[str] = []
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.styles += [value or "" for name, value in attributes if name == "style"]
        assert {name for name, _ in attributes} <= {"style"}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("caption", "p"):
            self.beside.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.beside[-1] += data


def unseen(report) -> list[str]:
    """The lines of a report's text that neither are a row of its HTML nor stand beside its tables."""
    shown = Shown(report._repr_html_())
    rows = [" ".join(" ".join(row).split()) for row in shown.rows]
    lines = [" ".join(line.split()).removeprefix("- ").removesuffix(":") for line in str(report).splitlines()]
    return [line for line in lines if line not in rows and line not in " ".join(shown.beside)]
