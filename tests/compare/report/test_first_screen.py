"""The first screen of a report in a real browser: what is above the fold, with 2 to 12 engines and failed runs."""

import itertools
import re

import pytest
from playwright.sync_api import expect

from compare.report import experiment_report
from compare.report.intervals import Mark, Scale
from compare.report.tables import measured, relative
from compare.results import table as results
from tests.compare.conftest import drawing_nothing
from tests.compare.report import variants
from tests.compare.report.browsing import opened, violations, wait_until

LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 390, "height": 844}
SCREENS = pytest.mark.parametrize("screen", [LAPTOP, PHONE], ids=["laptop", "phone"])
FAILED, DIVERGED = "exit code 1, RuntimeError: no memory left", "diverged at update 3: the loss is nan"


@pytest.fixture(scope="module")
def twelve(tiny, tmp_path_factory):
    """Twelve engines, of which one run failed, one diverged and one is missing."""
    folder = variants.with_engines(tiny[0], tmp_path_factory.mktemp("twelve") / "out", variants.TWELVE)
    variants.failed(folder, "varnet", "keras-jax", FAILED)
    variants.diverged(folder, "modl", "bart-0.9", DIVERGED)
    variants.without(folder, "varnet", "keras-torch")
    with drawing_nothing():
        experiment_report.write(folder)
    return folder


def box(tab, selector, number=0):
    return tab.locator(selector).nth(number).bounding_box()


def bottom(tab, selector, number=0):
    place = box(tab, selector, number)
    return place["y"] + place["height"]


@SCREENS
def test_claims_images_and_charts_are_above_the_fold(browser, tiny, screen):
    with opened(browser, tiny[0] / "index.html", viewport=screen) as tab:
        fold = screen["height"]
        claims = tab.locator(".claims li").all_inner_texts()
        assert [claim.partition(":")[0] for claim in claims] == ["Quality", "Speed", "Memory"]
        for number in range(3):
            assert bottom(tab, ".claims li", number) <= fold
        names = tab.locator(".tile figcaption span").all_inner_texts()
        engines = [f"{network} {engine}" for network in ("varnet", "modl") for engine in ("bart", "keras-tensorflow")]
        assert names == ["reference", "zero-filled", "cg-sense", *engines]
        assert all(re.fullmatch(r"\d+\.\d dB", text) for text in tab.locator(".tile figcaption b").all_inner_texts())
        assert tab.locator(".tile figcaption b").count() == len(names) - 1
        assert tab.locator(".tile img").count() == 2 * len(names) - 1
        tops = {round(box(tab, ".tile", number)["y"]) for number in range(len(names))}
        assert len(tops) == 1, "images must be in one row"
        for number in range(len(names)):
            assert bottom(tab, ".tile", number) <= fold
        assert tab.locator(".first .intervals thead th").count() == 1 + 3
        assert tab.locator(".first .intervals tbody tr:not(.group)").count() == 4
        assert bottom(tab, ".first .intervals") <= fold


@SCREENS
def test_with_twelve_engines_the_answer_is_still_above_the_fold(browser, twelve, screen):
    with opened(browser, twelve / "index.html", viewport=screen) as tab:
        fold = screen["height"]
        assert bottom(tab, ".claims") <= fold
        assert bottom(tab, ".strip") <= fold
        assert bottom(tab, ".first .intervals thead") <= fold
        assert tab.locator(".first .intervals tbody tr:not(.group)").count() == 24
        assert len(set(tab.locator(".first .intervals tbody th > span").all_inner_texts())) == 12


@SCREENS
def test_runs_that_diverged_failed_or_are_missing_are_seen_at_once(browser, twelve, screen):
    with opened(browser, twelve / "index.html", viewport=screen) as tab:
        states = tab.locator(".states .state").all_inner_texts()
        assert states == ["Diverged: modl on bart-0.9", "Failed: varnet on keras-jax", "Missing: varnet on keras-torch"]
        assert bottom(tab, ".states") < screen["height"] / 3
        assert tab.locator(".blank").all_inner_texts() == ["failed", "missing", "diverged"]
        rows = tab.locator(".first .intervals tr:has(.state)")
        assert [row.split()[:2] for row in rows.all_inner_texts()] == [
            ["keras-jax", "failed"],
            ["keras-torch", "missing"],
            ["bart-0.9", "diverged"],
        ]
        tab.locator(".states a").click()
        reasons = tab.locator("ul.warning").inner_text()
        assert FAILED in reasons
        assert DIVERGED in reasons
        assert re.search(r"Without a result: .*varnet on keras-torch\.", reasons)


def test_every_claim_leads_to_its_table(browser, tiny):
    with opened(browser, tiny[0] / "index.html", viewport=LAPTOP) as tab:
        links = tab.locator(".claims a, .first .intervals thead a")
        targets = [link.get_attribute("href") for link in links.all()]
        assert targets[:3] == ["#table-paired", "#table-ratios-time", "#table-ratios-memory"]
        assert len(targets) == 6
        for number, target in enumerate(targets):
            links.nth(number).focus()
            tab.keyboard.press("Enter")
            place = box(tab, f"{target} table")
            assert 0 <= place["y"] < LAPTOP["height"] / 2
        table = results.read_results(tiny[0])
        ratio = next(row for row in relative.time_ratios(table).frame.to_numpy() if row[0] == "varnet")
        speed = f"{relative.three_digits(1 / ratio[3])} times (varnet"
        assert speed in tab.locator(".claims li").nth(1).inner_text()


def test_charts_have_the_numbers_of_the_tables(browser, tiny):
    table = results.read_results(tiny[0])
    quality = {tuple(row[:3]): row[3] for row in measured.quality(table).frame.to_numpy()}
    memory = {tuple(row[:3]): row[3] for row in measured.memory(table).frame.to_numpy()}
    with opened(browser, tiny[0] / "index.html", viewport=LAPTOP) as tab:
        rows = tab.locator(".first .intervals tbody tr:not(.group)")
        expected = [(network, engine) for network in ("varnet", "modl") for engine in ("bart", "keras-tensorflow")]
        assert rows.count() == len(expected)
        for number, (network, engine) in enumerate(expected):
            psnr, _, peak = rows.nth(number).locator(".value").all_inner_texts()
            assert psnr == f"{quality[network, engine, 'trained'].values[0]:.2f} dB"
            numbers = memory[network, engine, "training"]
            assert peak == f"{getattr(numbers, 'values', (numbers,))[0]:.0f} MiB"
        # A dot is where its value is: the positions of bart and Keras are those of a common scale.
        dots = rows.locator("td:nth-child(4) circle")
        placed = [float(dot.get_attribute("cx").removesuffix("%")) for dot in dots.all()]
        peaks = [memory[network, engine, "training"] for network, engine in expected]
        means = [getattr(peak, "values", (peak,))[0] for peak in peaks]
        assert [sorted(placed).index(place) for place in placed] == [sorted(means).index(mean) for mean in means]


def test_kinds_of_marks_differ_in_shape_and_not_only_in_colour(browser, tiny):
    with opened(browser, tiny[0] / "index.html", viewport=LAPTOP) as tab:
        shapes = {
            kind: {
                shape for shape in ("circle", "rect", "path") if tab.locator(f".first .track g.{kind} {shape}").count()
            }
            for kind in ("first", "second", "published")
        }
        assert shapes == {"first": {"circle"}, "second": {"rect"}, "published": {"path"}}
        assert "published" in tab.locator(".first .legend").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000, 1600])
def test_twelve_engines_fit_every_width_and_axe_finds_nothing(browser, twelve, width, scheme):
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, twelve / "index.html", **look) as tab:
        # Its images get their names with the first drawing.
        expect(tab.locator("#viewer")).to_have_attribute("aria-busy", "false", timeout=60_000)
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert violations(tab) == []
        tab.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        cut = tab.locator(".first .value").evaluate_all(
            "values => values.filter((value) => value.scrollWidth > value.parentElement.clientWidth + 1).length"
        )
        assert cut == 0


def test_the_row_of_images_scrolls_by_keyboard(browser, twelve):
    with opened(browser, twelve / "index.html", viewport=PHONE) as tab:
        strip = tab.locator(".strip")
        strip.focus()
        for _ in range(5):
            tab.keyboard.press("ArrowRight")
        wait_until(tab, "document.querySelector('.strip').scrollLeft > 50")


def test_on_paper_all_images_are_there_and_everything_is_unfolded(browser, twelve, tmp_path):
    with opened(browser, twelve / "index.html", viewport={"width": 700, "height": 1000}) as tab:
        folded = tab.locator("main details:not([open])").count()
        assert folded > 5
        tab.evaluate(
            "addEventListener('beforeprint', () => { window.open_on_paper = "
            "document.querySelectorAll('main details:not([open])').length; })"
        )
        tab.pdf(path=tmp_path / "page.pdf", format="A4")
        assert tab.evaluate("window.open_on_paper") == 0
        assert tab.locator("main details:not([open])").count() == folded
        assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())) > 3
        tab.emulate_media(media="print")
        edge = tab.evaluate("document.documentElement.clientWidth")
        for number in range(tab.locator(".tile").count()):
            place = box(tab, ".tile", number)
            assert place["x"] + place["width"] <= edge


@pytest.mark.parametrize("logarithmic", [False, True])
def test_marks_lie_on_their_scale_in_order(logarithmic):
    marks = [Mark(10.0, 8.0, 30.0), Mark(200.0, 200.0, 900.0)]
    scale = Scale.around(marks, logarithmic)
    places = [scale.percent(value) for value in (8, 10, 30, 200, 900)]
    assert places == sorted(set(places))
    assert places[0] > 0
    assert places[-1] < 100
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 5
    for place, text in ticks:
        assert scale.percent(float(text)) == place
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(ticks)]
    assert min(gaps) > 10
    if logarithmic:
        assert scale.percent(80) - scale.percent(8) == pytest.approx(scale.percent(800) - scale.percent(80), abs=0.02)


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [float("nan")]])
def test_a_scale_of_few_or_no_values_is_one(values):
    for logarithmic in (False, True):
        scale = Scale.around([Mark(value, value, value) for value in values], logarithmic)
        assert scale.low < scale.high
        assert 0 <= scale.percent(5.0) <= 100
        scale.ticks()
