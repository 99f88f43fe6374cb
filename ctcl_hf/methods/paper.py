"""The paper that a method is from, as a card cites it. Imported without torch."""

from typing import NamedTuple


class Paper(NamedTuple):
    """A publication.

    `authors` as BibTeX has them; `venue` is a conference's proceedings, or where else it is found.
    """

    key: str
    title: str
    authors: str
    venue: str
    year: int
    url: str | None = None
    kind: str = "inproceedings"

    @property
    def bibtex(self) -> str:
        """The entry of a bibliography."""
        where = "booktitle" if self.kind == "inproceedings" else "howpublished"
        fields = {
            "title": self.title,
            "author": self.authors,
            where: self.venue,
            "year": self.year,
            "url": self.url,
        }
        width = max(map(len, fields))
        lines = [
            f"  {name.ljust(width)} = {{{value}}}"
            for name, value in fields.items()
            if value is not None
        ]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"
