"""Pages from the templates beside this file, with their pictures within."""

import base64
import io
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from PIL import Image

from ...base.files import write_whole

PAGE_FILE = "report.html"  # in the output folder of a run or of a comparison


def write_page(folder: Path, template: str, file: str = PAGE_FILE, **values: Any) -> Path:
    """Writes the page into the folder, whole or not at all; returns the file."""
    path = folder / file
    write_whole(path, _environment().get_template(template).render(values))
    return path


def picture(path: Path) -> str | None:
    """A PNG as an address that holds it; None if there is none."""
    if not path.is_file():
        return None
    return _address("png", path.read_bytes())


def embedded(image: Image.Image, kind: str, **options: Any) -> str:
    """A picture as an address that holds it, written by Pillow as "jpeg" or "png"."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return _address(kind, content.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def percent(share: float | None, sign: str = "") -> str:
    """Two digits; a dash for what does not occur."""
    return "–" if share is None else f"{100 * share:{sign}.2f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(
            lambda name: files(__package__).joinpath(name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.tests["words"] = lambda text: re.search("[a-z]{2}", text) is not None
    return environment
