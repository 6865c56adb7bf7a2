"""HTML that is put together from parts, of which all that is plain text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Make HTML of text, which then shows as it is, between tags and in attributes.

    Example:
        >>> escaped("<script> & 'co'")
        '&lt;script&gt; &amp; &#x27;co&#x27;'
    """
    if isinstance(text, Markup):
        return text
    whole = str(text).encode("utf-8", "backslashreplace").decode()  # names of files may hold half characters
    return Markup(html.escape("".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in whole)))


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Put parts one after another, with HTML between them."""
    return Markup(between.join(map(escaped, parts)))


def element(tag: str, *parts: object, **attributes: object) -> Markup:
    """An element with its attributes and what is in it.

    Args:
        tag: Its name.
        *parts: Text, which is escaped, or Markup.
        **attributes: By name, with `_` for `-`, and `class_` for `class`; None leaves one out.

    Example:
        >>> element("a", "<b>", class_="c", data_n=1, id=None)
        '<a class="c" data-n="1">&lt;b&gt;</a>'
    """
    given = (
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    opening = f"<{tag}{''.join(given)}>"
    return Markup(opening if tag in ("img", "meta") else f"{opening}{joined(parts)}</{tag}>")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], caption: str | None = None) -> Markup:
    """A table; the first cell of each row names the row, and columns of numbers stand to the right.

    It is in a box that scrolls by itself where the page is narrow.
    """
    cells = [list(row) for row in rows]
    sides = [_side([row[column] for row in cells]) for column in range(len(header))]
    head = [element("th", name, scope="col", class_=side) for name, side in zip(header, sides, strict=True)]
    body = []
    for first, *others in cells:
        rest = [element("td", cell, class_=side) for cell, side in zip(others, sides[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row", class_=sides[0]), *rest))
    shown = [] if caption is None else [element("caption", caption)]
    inner = element("thead", element("tr", *head)), element("tbody", *body)
    whole = element("table", *shown, *inner)
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption or "table")


def details(summary: str, *parts: object) -> Markup:
    """Something that is shown when its name is clicked."""
    return element("details", element("summary", summary), *parts)


def listed(items: Iterable[object]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def _side(cells: Sequence[object]) -> str | None:
    texts = [str(cell).strip("–−-+ ") for cell in cells]
    return "number" if any(texts) and all(text[:1].isdigit() for text in texts if text) else None
