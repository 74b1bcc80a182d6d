import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bart_bridge.errors import InputError
from compare.report import experiment_report
from compare.report.tables import measured
from compare.results import table as results
from compare.settings.experiment import load
from tests.compare.conftest import bart_tf_in_process, drawing_nothing


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
        if self.open and self.open[-1] == "td" and data.strip():
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


def test_pictures_on_the_page_are_those_of_the_files_in_half_the_bytes(tiny):
    on_page, in_files = 0, 0
    page = Page((tiny[0] / "index.html").read_text())
    by_title = {image["alt"]: image["src"] for image in page.images}
    for slug, title in (("modl-loss", "modl, training loss"), ("modl-memory-train", "modl, memory during training")):
        path = tiny[0] / "figures" / f"{slug}.png"
        png = base64.b64decode(by_title[title].split(",", 1)[1])
        shown, exported = (np.asarray(Image.open(each).convert("RGB"), int) for each in (io.BytesIO(png), path))
        assert shown.shape == exported.shape
        # Of 256 levels; smooth edges of lines are few pixels.
        assert np.abs(shown - exported).mean() < 0.5
        assert np.abs(shown - exported).max() < 64
        on_page, in_files = on_page + len(png), in_files + path.stat().st_size
    assert on_page < in_files / 2


def cells_of_markdown(text):
    """The cells of each table of a Markdown file, row by row, without the columns that are `n/a` throughout."""
    shown = []
    for part in text.split("\n## "):
        lines = [line for line in part.splitlines() if line.startswith("| ")]
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
        kept = [number for number in range(len(rows[0])) if any(row[number] != "n/a" for row in rows)] if rows else []
        values = {"".join(row[number] for row in rows) for number in kept}
        # A table of names alone is left out, too.
        if len(kept) < len(rows[0]) and not any(character.isdigit() for character in "".join(values)):
            kept = []
        shown += [row[number] for row in rows for number in kept]
    return shown


def test_page_and_markdown_show_the_same_numbers(tiny):
    page = Page((tiny[0] / "index.html").read_text())
    shown = cells_of_markdown((tiny[0] / "tables.md").read_text().partition("\n## ")[2])
    assert len(shown) > 500
    assert [cell for cell in shown if cell] == page.cells


def test_columns_without_a_value_are_folded_away_with_the_reason(tiny):
    text = (tiny[0] / "index.html").read_text()
    (memory,) = re.findall(r'<div id="table-memory".*?<details class="notes">', text, re.DOTALL)
    assert "<th" in memory
    if not results.select(results.read_results(tiny[0]), metric="gpu_peak", measured=True).empty:
        pytest.skip("this machine has a GPU, whose memory was read")
    headings = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", memory)
    assert not [heading for heading in headings if "GPU" in heading]
    (folded,) = re.findall(r'<details class="folded">.*?</details>', memory, re.DOTALL)
    for heading in ("GPU process peak / MiB", "GPU before last growth / MiB", "GPU device above start / MiB"):
        (reason,) = re.findall(rf"<dt>{heading}</dt><dd>(.*?)</dd>", folded)
        assert reason.startswith("n/a: no NVIDIA GPU")
    # Every column of every table that is away has a reason.
    for reason in re.findall(
        r"<dd>(.*?)</dd>", "".join(re.findall(r'<details class="folded">.*?</details>', text, re.DOTALL))
    ):
        assert "n/a" in reason
        assert len(reason) > len("n/a: ")


def test_the_quality_table_is_the_mean_of_the_rows(tiny):
    table = results.read_results(tiny[0])
    row = next(row for row in measured.quality(table).rows if row[:3] == ["modl", "bart", "trained"])
    psnr = table.query("network == 'modl' and engine == 'bart' and phase == 'apply' and metric == 'psnr'").value
    assert row[3] == f"{psnr.mean():.2f} ± {psnr.std():.2f}"


def test_the_report_is_made_again_from_the_results_alone(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    page = (folder / "index.html").read_text()
    table = (folder / "results.csv").read_text()
    (folder / "index.html").unlink()
    assert experiment_report.write(folder) == folder / "index.html"
    assert (folder / "index.html").read_text() == page
    assert (folder / "results.csv").read_text() == table


@pytest.mark.parametrize("missing", ["experiment.yaml", "results.csv"])
def test_a_folder_without_results_is_refused(tiny, tmp_path, missing):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=missing.replace(".", r"\.")):
        experiment_report.write(folder)


def test_a_page_whose_images_are_gone_is_kept(tiny, tmp_path):
    for name in ("experiment.yaml", "results.csv", "index.html"):
        shutil.copy(tiny[0] / name, tmp_path)
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 2
    message = f"error: {tmp_path / 'index.html'}: shows images that are no longer in the folder"
    assert message in " ".join(finished.stderr.split())
    assert (tmp_path / "index.html").read_bytes() == (tiny[0] / "index.html").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {"experiment.yaml", "results.csv", "index.html", ".lock"}


@pytest.mark.usefixtures("undrawn")
def test_the_report_is_made_from_the_table_alone(tiny, tmp_path):
    """Without dataset, images, runs, losses, memory and machine; it says what it left out."""
    for name in ("experiment.yaml", "results.csv"):
        shutil.copy(tiny[0] / name, tmp_path)
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 0, finished.stderr
    text = (tmp_path / "index.html").read_text()
    whole, page = Page((tiny[0] / "index.html").read_text()), Page(text)
    assert page.cells == whole.cells
    assert 0 < len(page.images) < len(whole.images)
    left_out = re.findall(r"<li>Left out: (.*?)</li>", text)
    reasons = [f"all images ({tmp_path / 'dataset'}", "description of the machine", "training loss", "memory over time"]
    assert len(left_out) == len(reasons)
    for line, reason in zip(left_out, reasons, strict=True):
        assert line.startswith(reason)
    assert "Left out: all images" in (tmp_path / "tables.md").read_text()
    assert "images" not in page.ids
    # The list of files names none that is not there.
    assert "<code>history.csv" not in text
    assert "<code>results.csv" in text


@pytest.mark.usefixtures("undrawn")
def test_what_is_there_is_shown_and_the_rest_is_named(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    (folder / "runs/modl-bart/apply-images.cfl").unlink()
    (folder / "references/cg-sense.cfl").write_bytes(b"cut off")
    shutil.rmtree(folder / "runs/varnet-bart")
    text = experiment_report.write(folder).read_text()
    (line,) = re.findall(r"<li>Left out: (.*?)</li>", text)
    names = ["cg-sense", "modl on bart", "varnet on bart", "varnet on bart, untrained"]
    assert line.startswith(f"images of {', '.join(names)} (")
    for path in (folder / "runs/modl-bart/apply-images.cfl", folder / "references/cg-sense.cfl"):
        assert str(path) in line
    assert (folder / "figures" / "modl-slice-0.png").exists()
    assert '"label": "keras-tensorflow"' in text
    assert "Failed" not in text
    assert "Without a result" not in text


CONTINUED = "modl on keras-tensorflow, times of training: n/a: continued after 3 updates"


@pytest.fixture(scope="module")
def continued(tiny, toolbox, tmp_path_factory):
    """The tiny experiment with a training that was interrupted, as the engine records it."""
    folder = shutil.copytree(tiny[0], tmp_path_factory.mktemp("continued") / "copy")
    path = folder / "runs/modl-keras-tensorflow/train.json"
    record = json.loads(path.read_text())
    record["measurement"]["ending"] += ", continued after 3 updates"
    path.write_text(json.dumps(record))
    results.write(load(folder / "experiment.yaml"), folder, toolbox)
    with drawing_nothing():
        experiment_report.write(folder)
    return folder


def test_a_training_that_continued_has_no_times(continued):
    table = results.read_results(continued)
    row = (table.network == "modl") & (table.engine == "keras-tensorflow") & (table.phase == "train")
    timed = table[row & table.metric.isin(["elapsed", "cpu", "setup", "compilation", "training", "epoch"])]
    assert len(timed) == 6
    assert timed.value.isna().all()
    assert set(timed.definition) == {"n/a: continued after 3 updates"}
    assert f"<li>{CONTINUED}.</li>" in (continued / "index.html").read_text()
    for slug in ("training-time", "ratios-time", "published-time"):
        assert "n/a: continued after 3 updates" in (continued / "tables" / f"{slug}.md").read_text(), slug
    times = pd.read_csv(continued / "tables" / "training-time.csv", comment="#", keep_default_na=False)
    (cells,) = times[(times.network == "modl") & (times.engine == "keras-tensorflow")].to_numpy()
    assert set(cells[2:]) == {"n/a"}
    ratios = pd.read_csv(continued / "tables" / "ratios-time.csv", comment="#", keep_default_na=False)
    of_time = ratios[
        (ratios.network == "modl")
        & ratios.quantity.str.startswith("seconds")
        & ratios.quantity.str.contains("training")
    ]
    assert set(of_time["ratio / 1"]) == {"n/a"}
    assert "as fast in an epoch" not in "".join(
        line for line in (continued / "index.html").read_text().splitlines() if "modl, keras-tensorflow against" in line
    )


def test_times_of_a_training_that_continued_are_no_difference(tiny, continued):
    finished = bart_tf_in_process("diff", tiny[0], continued)
    assert finished.returncode == 0, finished.stderr
    assert f"B: {CONTINUED}" in finished.stdout
    rows = [line for line in finished.stdout.splitlines() if line.startswith("| modl | keras-tensorflow | train |")]
    of_time = [line for line in rows if "/ s |" in line]
    assert len(of_time) == 3
    assert all(line.split("|")[6].strip() == "n/a" and line.split("|")[9].strip() == "n/a" for line in of_time)


@pytest.mark.parametrize("others", [None, 5, [5], [{}]])
def test_a_machine_that_cannot_be_read(others, tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    path = folder / "machine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"others": others}) if others else "{")
    finished = bart_tf_in_process("report", folder)
    assert finished.returncode == 2
    assert f"{folder / 'machine.json'}: cannot be read as the description of a machine" in " ".join(
        finished.stderr.split()
    )
