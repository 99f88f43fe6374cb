"""The site that `make docs` builds, without network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

import ctcl_hf

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("mkdocs", "material", "mkdocstrings"))),
    reason="needs MkDocs: pip install 'ctcl-hf[docs]' ('.[docs]' in a checkout)",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    # With --quiet warnings would not be counted.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_public_name_has_a_page_with_what_it_is(site):
    for name in ctcl_hf.__all__:
        page = (site / "api" / f"{name}.html").read_text()
        assert f'id="ctcl_hf.{name}"' in page, name
        own = page.partition('<div class="doc doc-contents first">')[2].partition("<details")[0]
        assert re.search(r"<p>\S", own), name


def test_every_module_that_an_example_imports_from_has_a_page(site):
    anchors = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for module, names in re.findall(
            r"^from (ctcl_hf\.[\w.]+) import (.+)", document.read_text(), re.MULTILINE
        ):
            for name in set(names.split(", ")) - {*ctcl_hf.__all__}:
                assert re.search(rf'id="{module}(\.\w+)*\.?{name}"', anchors), (document, name)


def test_every_document_has_a_page_in_the_navigation(site):
    overview = (site / "index.html").read_text()
    for document in ROOT.glob("docs/*.md"):
        assert f'href="docs/{document.stem}.html"' in overview


class Fetched(HTMLParser):
    """What a page has a browser fetch."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(told.get("src"))
        if tag == "link" and told.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.addresses.append(told.get("href"))


def test_a_page_fetches_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(ctcl_hf.__all__)
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        for address in filter(None, parser.addresses):
            assert not re.match(r"(\w+:)?//", address), f"{page.relative_to(site)}: {address}"
