"""Reading a page as a browser does: what it shows, and whether its tags fit."""

from html.parser import HTMLParser
from pathlib import Path

# of SVG's, those that `/>` closes here
VOID = {"br", "circle", "hr", "img", "line", "link", "meta", "polyline"}


class Reader(HTMLParser):
    """Collects the text of a page.

    AssertionError where a tag is closed that is not the last one open.
    """

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.tags, self.links = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [
            value for name, value in attributes if name in ("src", "href", "xlink:href", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, (
                f"</{tag}> within {self.open}, at {self.getpos()}"
            )
            self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.text.append(data)


def read_page(path: Path) -> Reader:
    """The page, of which every tag must be closed."""
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def text_of(path: Path) -> str:
    """What the page shows, with single spaces."""
    return " ".join(" ".join(read_page(path).text).split())
