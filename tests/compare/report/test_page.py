import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from compare.report import groups, page, table_charts, viewer
from compare.report.figures import colours, curves, embedded, images
from compare.report.intervals import Mark
from compare.report.tables.table import Numbers, table_of_rows


def render(**content):
    return page.render(page.Page(**{"title": "t", "description": "", "tables": [], "figures": []} | content), "1.2.3")


def cells(html):
    return re.findall(r"<td class=\"([^\"]*)\"([^>]*)>([^<]*)</td>", html)


def column(values, form=""):
    return cells(render(tables=[table_of_rows("One", {"heading / s": form}, [[value] for value in values], [])]))


@pytest.mark.parametrize(
    ("values", "form", "shown"),
    [
        ([1234.5, 1.0, None], ".0f", ["1234", "1", "n/a"]),
        ([12.345, -3.0], ".2f", ["12.35", "-3.00"]),
        ([3.21e-5, 1e-6], ".8f", ["0.00003210", "0.00000100"]),
        ([0.0, "not finite"], ".3f", ["0.000", "not finite"]),
        ([12, 3], "", ["12", "3"]),
        ([Numbers((1.2, 0.1), "{} ± {}"), None], ".1f", ["1.2 ± 0.1", "n/a"]),
        ([0.5, 1e-9], lambda p: "<0.01" if p < 0.01 else f"{p:g}", ["0.5", "&lt;0.01"]),
    ],
)
def test_a_column_of_numbers_is_aligned_and_has_its_format(values, form, shown):
    found = column(values, form)
    assert [text for *_, text in found] == shown
    assert all("number" in kind for kind, *_ in found)


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        (Numbers((31.2, 1.1), "{} ± {}"), 31.2),
        (Numbers((-0.5, -0.7, -0.3), "{} ({} to {})"), -0.5),
        (0.0015, 0.0015),
        (Numbers((4,), "{} (lean)"), 4),
    ],
)
def test_a_number_with_more_behind_it_is_sorted_as_the_number(cell, key):
    ((_, attributes, _),) = column([cell])
    assert float(re.search(r'data-key="(.*?)"', attributes)[1]) == key


@pytest.mark.parametrize("texts", [["0.8.00", "1.0.00"], ["3x3", "5x5"], ["bart", "12"], ["", ""]])
def test_what_is_not_a_number_throughout_is_text(texts):
    for kind, attributes, _ in column(texts):
        assert "number" not in kind
        assert "data-key" not in attributes


def test_columns_of_published_numbers_are_marked():
    columns = {"network": "", "ours: PSNR / dB": ".3f", "published: PSNR / dB": ".3f"}
    html = render(tables=[table_of_rows("PSNR", columns, [["varnet", 1.0, 2.0]], [])])
    headings = re.findall(r"<th [^>]*>(.*?)</th>", html)
    assert headings == ["network", "ours: PSNR\xa0/\xa0dB", "published: PSNR\xa0/\xa0dB"]
    assert [("published" in kind, text) for kind, _, text in cells(html)] == [
        (False, "varnet"),
        (False, "1.000"),
        (True, "2.000"),
    ]


def test_texts_cannot_become_markup():
    evil = "</script><script>alert(1)</script>"
    figure = Figure()
    image = viewer.Image(evil, evil, evil, np.ones((1, 2, 2)), [evil])
    html = render(
        title=evil,
        description=evil,
        conditions=[evil],
        warnings=[evil],
        tables=[page.Table("a", evil, evil, pd.DataFrame({evil: [evil]}))],
        figures=[embedded.Figure("b", evil, evil, png(figure))],
        viewer=viewer.pack(image, [], [0], 5),
        setup={evil: {evil: [evil]}},
        files={evil: evil},
        engines=[evil],
    )

    class Scripts(HTMLParser):
        count = 0

        def handle_starttag(self, tag, attributes):
            self.count += tag == "script"

    parser = Scripts()
    parser.feed(html)
    assert parser.count == 2
    assert "alert(1)" in html


def test_figures_say_their_size_and_wide_ones_get_the_whole_width():
    wide, square = (embedded.Figure("f", "F", "", png(Figure(figsize=size))) for size in [(6, 2), (3, 3)])
    assert wide.size == (600, 200)
    assert wide.wide
    assert square.size == (300, 300)
    assert not square.wide


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def test_tables_are_grouped_with_their_figures_and_the_rest_is_kept():
    slugs = ["gpu-state", "memory", "kernels", "paired", "agreement", "inference-time", "quality"]
    tables = [table_of_rows(slug, {"network": "", "value / 1": ""}, [["n", 1.0]], [], slug) for slug in slugs]
    tables[4] = table_of_rows(
        "agreement", AGREEMENT, [["n", "memory", 2.0, Numbers((3.0, 2.0, 4.0), "{}"), "differs"]], [], "agreement"
    )
    figures = [
        embedded.Figure(slug, slug, "", png(Figure())) for slug in ("n-violins", "seconds", "n-memory-train", "gpu-0")
    ]
    found = groups.group(tables, figures)
    assert [(group.slug, [item.table.slug for item in group.exhibits]) for group in found] == [
        ("quality", ["paired", "quality"]),
        ("time", ["inference-time"]),
        ("memory", ["memory"]),
        ("agreement", ["agreement"]),
        ("more", ["kernels"]),
        ("machine", ["gpu-state"]),
    ]
    beside = {item.table.slug: [figure.slug for figure in item.figures] for group in found for item in group.exhibits}
    assert beside["quality"] == ["n-violins"]
    assert beside["inference-time"] == ["seconds"]
    assert beside["memory"] == ["n-memory-train"]
    assert [figure.slug for group in found for figure in group.figures] == ["gpu-0"]
    html = render(tables=tables, figures=figures)
    order = [
        html.index(f'id="{name}"') for name in ("summary", "quality", "time", "memory", "agreement", "more", "machine")
    ]
    assert order == sorted(order)
    assert all(html.count(f'id="figure-{figure.slug}"') == 1 for figure in figures)


AGREEMENT = {"network": "", "quantity": "", "ours: mean (range)": "", "published: mean (range)": "", "verdict": ""}


def test_a_table_of_ratios_of_several_engines_has_a_chart():
    columns = {"network": "", "engine": "", "quantity": "", "ratio / 1": ".3g", "lowest / 1": "", "highest / 1": ""}
    rows = [["n", engine, "seconds", ratio, ratio / 2, None, 3] for engine, ratio in (("a", 2.0), ("b", 4.0))]
    table = table_of_rows("Time", columns | {"repeats": ""}, rows, [], "ratios-time")
    chart = table_charts.chart_of(table)
    cells = [row.cells[0] for row in chart.groups["n"]]
    assert [(cell.text, cell.marks) for cell in cells] == [("2", [Mark(2.0, 1.0, 2.0)]), ("4", [Mark(4.0, 2.0, 4.0)])]
    assert table_charts.chart_of(table_of_rows("Time", columns | {"repeats": ""}, rows[:1], [], "ratios-time")) is None


def test_engines_have_fixed_colours_and_others_get_different_ones():
    found = colours.by_engine(["bart", "bart-cudnn", "keras-jax", "keras-tensorflow", "bart"])
    assert len(set(found.values())) == len(found) == 4
    assert found["bart"] == colours.by_engine(["bart"])["bart"]


TWELVE = ["bart", "keras-tensorflow", *(f"bart-{number}" for number in range(10))]


@pytest.mark.parametrize("names", [TWELVE, [f"bart-{number}" for number in range(12)]])
def test_twelve_engines_are_told_apart_by_colour_and_by_marker(names):
    found = colours.styles(names)
    assert len({style.colour for style in found.values()}) == 12
    assert len({style.marker for style in found.values()}) == 12
    assert colours.styles(reversed(names)) == found


# How eyes without red or green cones see linear RGB (Machado et al. 2009, doi 10.1109/TVCG.2009.113).
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


@pytest.mark.parametrize("eyes", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_colours_differ_for_colour_blind_readers(eyes):
    from skimage.color import deltaE_ciede2000, rgb2lab

    codes = colours.by_engine(["cg-sense", "bart", "keras-tensorflow", *(f"bart-{number}" for number in range(12))])
    shown = np.array([list(bytes.fromhex(code[1:])) for code in codes.values()]) / 255
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(eyes), 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    distances = deltaE_ciede2000(lab[:, None], lab[None]) + 1e3 * np.eye(len(lab))
    assert distances.min() > 10


def test_figures_of_twelve_engines_repeat_no_mark():
    rows = [
        {
            "network": "n",
            "engine": name,
            "phase": phase,
            "metric": metric,
            "slice": 0,
            "repeat": 0,
            "value": 1.0 + number,
        }
        for number, name in enumerate(TWELVE)
        for phase, metric in (("apply", "psnr"), ("train", "epoch"))
    ]
    table, styles = pd.DataFrame(rows), colours.styles(TWELVE)
    losses = [{"network": "n", "engine": name, "stage": 1, "epoch": 1, "loss": 1.0} for name in TWELVE]
    for figure in (
        images.psnr_by_slice(table, "n", styles),
        images.loss_curves(pd.DataFrame(losses), "n", styles),
        curves.seconds_by_repeat(table, styles),
    ):
        lines = figure.axes[0].lines
        assert len(lines) == 12
        assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 12


def test_the_viewer_has_the_colours_of_the_page():
    shown = [viewer.Image(name, name, "", np.ones((1, 2, 2))) for name in ("reference", "bart-9")]
    (_, packed) = viewer.pack(shown[0], shown[1:], [0], 5, TWELVE)["images"]
    assert packed["colour"] == colours.by_engine(TWELVE)["bart-9"]


def test_packed_images_are_json_and_small():
    rng = np.random.default_rng(1)
    image = viewer.Image("reference", "reference", "", rng.normal(1, 0.01, (2, 64, 64)))
    packed = viewer.pack(image, [image], [0, 3], 5)
    text = json.dumps(packed)
    assert len(text) < 2 * 2 * 64 * 64 * 2
    assert packed["numbers"] == [0, 3]


def test_the_number_of_slices_bounds_the_page():
    assert viewer.choose_slices(8, 5, (48, 48)) == list(range(8))
    assert viewer.choose_slices(100, 5, (48, 48))[-1] < 100
    assert len(viewer.choose_slices(100, 7, (320, 368))) * 7 * 320 * 368 <= 2_500_000
    assert viewer.choose_slices(100, 50, (1024, 1024)) == [0]
