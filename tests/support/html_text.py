"""A page taken apart by Python's own parser: its tags, its attributes, and the text of its sections."""

from html.parser import HTMLParser

EMPTY = {"meta", "img", "br"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        tags: The name and the attributes of each element.
        text: What is shown, by the id of the section; "" for the rest.
        open: Elements that were not closed.
    """

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open, self._section = [], {}, [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "section":
            self._section = dict(attributes)["id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        self.text[self._section] = f"{self.text.get(self._section, '')} {data}"

    def of(self, section):
        """The text of a section, blanks made one."""
        return " ".join(self.text[section].split())
