"""The site has every page, no dead link, and nothing that a browser would fetch from elsewhere."""

import html.parser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import typer

import bart_bridge
import tf_models
from compare import cli
from compare.settings.experiment import Experiment
from tests.compare.cli.command_lines import leaves

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: make docs does it")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed: make docs does it")

ROOT = Path(__file__).resolve().parents[2]
# What a browser loads by itself.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(html.parser.HTMLParser):
    """The links, anchors and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADED and values.get(LOADED[tag]) and values.get("rel") != "canonical":
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    built = subprocess.run(
        [ROOT / "tools" / "site", folder],
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "HOME": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_no_link_is_dead(site, pages):
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            if re.match(r"[a-z]+:", link):
                continue
            name, anchor = urldefrag(unquote(link))
            target = (path.parent / name).resolve() if name else path
            if target.is_dir():
                target /= "index.html"
            known = pages[target].anchors if target in pages else None
            if not target.is_file() or (anchor and known is not None and anchor not in known):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead


def test_nothing_is_fetched_from_elsewhere(site, pages):
    assert not [link for page in pages.values() for link in page.loaded if re.match(r"(https?:)?//", link)]
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", style.read_text()), style


def test_no_document_is_forgotten():
    listed = (ROOT / "docs" / "mkdocs.yml").read_text()
    documents = sorted((ROOT / "docs").rglob("*.md"))
    assert len(documents) > 20
    assert not [path for path in documents if str(path.relative_to(ROOT)) not in listed]


def test_the_reference_has_every_command_key_and_public_name(site):
    commands = (site / "docs/reference/command-line.html").read_text()
    assert not [
        name for name in leaves(typer.main.get_command(cli.app)) if f"<code>bart-tf {name}</code>" not in commands
    ]
    assert '<a href="#bart-tf-doctor"><code>doctor</code></a>: Show which' in commands
    assert not re.findall(r"[^]]\.\.\.\s*</li>", commands)  # no sentence is cut
    keys = (site / "docs/reference/experiment.html").read_text()
    blocks = [Experiment.model_json_schema(), *Experiment.model_json_schema()["$defs"].values()]
    names = {name for block in blocks for name in block["properties"]}
    assert len(names) > 80
    assert not [name for name in names if f"<td><code>{name}</code></td>" not in keys]
    python = (site / "docs/reference/python.html").read_text()
    public = [f"{package.__name__}.{name}" for package in (bart_bridge, tf_models) for name in package.__all__]
    assert not [name for name in public if f'id="{name}"' not in python]


def test_markdown_reads_the_same_as_on_a_code_host(pages):
    """Lists and tables need an empty line before them here; otherwise they are text."""
    for path, page in pages.items():
        for paragraph in re.findall(r"<p>(.*?)</p>", page.source, re.DOTALL):
            assert not re.search(r"^\s*([-*] |\||```|1\. )", paragraph, re.MULTILINE), (path, paragraph)


def test_items_of_lists_are_indented_for_both():
    """A code host takes an item's text at any indent; Python-Markdown needs four spaces, or starts the list anew."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "findings").glob("*.md")]:
        outside = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert not re.findall(r"\n\n {1,3}\S.*", outside), path
