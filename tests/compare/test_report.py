import base64
import shutil
from html.parser import HTMLParser

import pytest

from bart_bridge.errors import InputError
from compare import report, results, tables


class Page(HTMLParser):
    """Collects what a page refers to and says."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.ids, self.cells, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if "href" in attributes:
            self.links.append(attributes["href"])
        self.open.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_the_page_needs_no_other_file(tiny):
    page = Page((tiny[0] / "index.html").read_text())
    # Of every network two slices, loss, PSNR, spread and differences; memory over time.
    assert len(page.images) > 2 * (2 + 2)
    for image in page.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        assert image["alt"]
    assert {link.removeprefix("#") for link in page.links} - {"data:,"} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)


def test_page_and_markdown_show_the_same_numbers(tiny):
    page = Page((tiny[0] / "index.html").read_text())
    markdown = (tiny[0] / "tables.md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    # A heading stands above a line of dashes.
    rows = [line for line, below in zip(lines, [*lines[1:], ""], strict=True) if "| --- |" not in line + below]
    shown = [cell.strip() for row in rows for cell in row.strip("|").split(" | ")]
    assert len(rows) > 50
    assert [cell for cell in shown if cell] == [cell for cell in page.cells if cell.strip()]


def test_the_quality_table_is_the_mean_of_the_rows(tiny):
    table, _ = results.read(tiny[0])
    row = next(row for row in tables.quality(table).rows if row[:3] == ["modl", "bart", "trained"])
    psnr = table.query("network == 'modl' and engine == 'bart' and phase == 'apply' and metric == 'psnr'").value
    assert row[3] == f"{psnr.mean():.2f} ± {psnr.std():.2f}"


def test_the_report_is_made_again_from_the_results_alone(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    page = (folder / "index.html").read_text()
    table = (folder / "results.csv").read_text()
    (folder / "index.html").unlink()
    assert report.write(folder) == folder / "index.html"
    assert (folder / "index.html").read_text() == page
    assert (folder / "results.csv").read_text() == table


@pytest.mark.parametrize("missing", ["experiment.yaml", "results.csv"])
def test_a_folder_without_results_is_refused(tiny, tmp_path, missing):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=missing.replace(".", r"\.")):
        report.write(folder)
