"""A hook of MkDocs: the checkout's documents as the site's pages, and a page for every public name.

Every file keeps its path in the checkout, so that the links that work on GitHub work here too.
"""

import dataclasses
import re
from collections import defaultdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import ctcl_hf
from ctcl_hf.arguments.pair import OptimizationArguments, PublishingArguments, ReportArguments
from ctcl_hf.methods import METHODS, options_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
LINK = re.compile(r"\]\(([^)#:]+)")
INLINE_CODE = re.compile(r"<code>[^<]*</code>")
FLAG = re.compile(r"(?<![\w-])--\w+")
# What the documents' examples import from within rooms, beside the package's own names.
OF_ROOMS = (
    "losses",
    "methods.options",
    "metrics.Metric",
    "scoring.predict.load_for_inference",
    "scoring.protocols.Framing",
    "students.as_student",
    "students.loading.image_processor",
)
# Classes whose arguments are fields, each with its help: by the class, the dataclasses of those.
FIELDS = {
    **{METHODS.data[name].partition(":")[2]: [options_of(name)] for name in METHODS},
    "CTCLArguments": [OptimizationArguments, PublishingArguments, ReportArguments],
}


def on_config(config: MkDocsConfig) -> None:
    """Appends the API to the navigation: a section for each room of the package."""
    sections = defaultdict(list)
    for name, place in api().items():
        sections[place.partition(".")[0].capitalize()].append({name: page_of(name)})
    rooms = [{room: sections[room]} for room in sorted(sections)]
    config.nav.append({"API": ["api/index.md", *rooms]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the documents, the files that they link to, and the pages of the API."""
    documents = {path for pattern in DOCUMENTS for path in ROOT.glob(pattern)}
    linked = {
        (document.parent / link).resolve()
        for document in documents
        for link in LINK.findall(document.read_text(encoding="utf-8"))
    }
    for path in sorted(documents | {path for path in linked - documents if path.is_file()}):
        place = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(path)))
    for name in api():
        content = f"::: ctcl_hf.{name}\n{table_of_fields(name)}"
        files.append(File.generated(config, page_of(name), content=content))
    files.append(File.generated(config, "api/index.md", content=index()))


def on_page_content(html: str, **of_mkdocs: object) -> str:
    """Marks flags in the text, which a browser would break after their first dashes."""
    return INLINE_CODE.sub(
        lambda code: FLAG.sub(lambda flag: f'<span class="flag">{flag[0]}</span>', code[0]), html
    )


def api() -> dict[str, str]:
    """Every name that has a page, as it is imported from ctcl_hf, and the room that it is of."""
    return dict(sorted(ctcl_hf._HOME.items())) | {name: name for name in OF_ROOMS}


def page_of(name: str) -> str:
    return f"api/{name}.md"


def table_of_fields(name: str) -> str:
    """Markdown: what a class of `FIELDS` takes, which its docstring leaves to each field's help."""
    fields = [field for of in FIELDS.get(name, ()) for field in dataclasses.fields(of)]
    if not fields:
        return ""
    rows = [
        f"| `{field.name}` | `{field.default!r}` | {cell(field.metadata['help'])} |"
        for field in fields
    ]
    return "\n".join(["", "## Options", "", "| | default | |", "|---|---|---|", *rows, ""])


def cell(text: str) -> str:
    """A help text (of argparse, where a per cent sign is doubled) within a table."""
    return text.replace("%%", "%").replace("|", "\\|").replace("*", "\\*")


def index() -> str:
    """The API's first page."""
    lines = ["# API", "", "What `from ctcl_hf import ...` gives:", ""]
    lines += [f"- [`{name}`]({name}.md)" for name in sorted(ctcl_hf._HOME)]
    lines += ["", "Beside it, for methods, protocols, metrics and students of one's own:", ""]
    lines += [f"- [`ctcl_hf.{name}`]({name}.md)" for name in OF_ROOMS]
    return "\n".join(lines) + "\n"
