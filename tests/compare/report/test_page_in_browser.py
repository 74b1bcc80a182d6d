"""The page in a real headless Chromium: what a reader sees and does, in light and dark, on a desk and on a phone."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from playwright.sync_api import expect

from compare.report import page, viewer
from compare.report.figures import embedded
from compare.report.tables.table import Numbers, table_of_rows
from tests.compare.report.browsing import check_tab_reaches_all, opened, violations, wait_until

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 740}
LOOKS = pytest.mark.parametrize(
    "look",
    [
        {"color_scheme": "light", "viewport": DESK},
        {"color_scheme": "dark", "viewport": DESK},
        {"color_scheme": "light", "viewport": PHONE, "has_touch": True},
        {"color_scheme": "dark", "viewport": PHONE, "has_touch": True},
    ],
    ids=["light", "dark", "phone", "dark phone"],
)
GAIN = 5


@pytest.fixture(scope="module")
def stacks():
    """Magnitudes of three slices, `(slice, y, x)`; a coarse pattern, so that a pixel is easily hit."""
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 2, (3, 7, 9))
    noisy = {name: np.abs(reference + rng.normal(0, 0.05, reference.shape)) for name in ("bart", "keras-tensorflow")}
    return {"reference": reference, "zero-filled": 0.5 * reference} | noisy


@pytest.fixture(scope="module")
def written(stacks, tmp_path_factory):
    """A page of known content."""
    buffer = io.BytesIO()
    Figure(figsize=(6, 2)).savefig(buffer, format="png")
    images = [
        viewer.Image(name, name, "" if name in {"reference", "zero-filled"} else "varnet", stack, ["a", "b", "c"])
        for name, stack in stacks.items()
    ]
    images.append(viewer.Image("bart", "bart", "modl", stacks["bart"] / 2))
    columns = {"engine": "", "time / s": ".1f", "published time / s": ".1f"}
    rows = [
        ["bart", Numbers((10, 1), "{} ± {}"), 9.0],
        ["keras-tensorflow", Numbers((9, 1), "{} ± {}"), None],
        ["cg-sense", None, 11.0],
        ["bart-cudnn", -2.0, 100.0],
    ]
    content = page.Page(
        title="known",
        description="Known content.",
        conditions=["Nine is less than ten."],
        warnings=["Something is missing."],
        tables=[table_of_rows("Time", columns, rows, ["time: of a clock", "n/a: not run"])],
        figures=[embedded.Figure("empty", "An empty figure", "Nothing.", buffer.getvalue())],
        viewer=viewer.pack(images[0], images[1:], [0, 4, 8], GAIN),
        setup={"Machine": {"cores": 2, "gpus": []}},
        files={"results.csv": "every number"},
        engines=["bart", "keras-tensorflow", "cg-sense", "bart-cudnn"],
    )
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page.render(content, "1.2.3"))
    return path


@pytest.fixture
def tab(browser, written):
    with opened(browser, written, viewport=DESK) as tab:
        settled(tab)
        yield tab


def settled(tab):
    """Wait until every canvas of the viewer is drawn."""
    expect(tab.locator("#viewer")).to_have_attribute("aria-busy", "false", timeout=30_000)


def pixels(tab, selector, x=9, y=7):
    """Read the grey of the middle of each of y by x fields of a canvas; the image is drawn transposed."""
    values = tab.locator(selector).evaluate(
        """(canvas, [rows, columns]) => {
            const {width, height} = canvas;
            const copy = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
            copy.drawImage(canvas, 0, 0);
            const data = copy.getImageData(0, 0, width, height).data;
            const middle = (index, count, size) => Math.floor((index + 0.5) * size / count);
            const at = (row, column) => data[4 * (middle(row, rows, height) * width + middle(column, columns, width))];
            const count = (size) => [...Array(size).keys()];
            return count(rows).map((row) => count(columns).map((column) => at(row, column)));
        }""",
        [x, y],
    )
    return np.array(values).T


def canvas(number, row=0):
    return f"#tiles figure:nth-child({number + 1}) canvas:nth-of-type({row + 1})"


def grey(values, low=0.0, high=1.0):
    return 255 * np.clip((values - low) / (high - low), 0, 1)


@LOOKS
def test_the_report_of_an_experiment_works_and_is_accessible(browser, tiny, look):
    with opened(browser, tiny[0] / "index.html", **look) as tab:
        settled(tab)
        sizes = tab.locator("img").evaluate_all("images => images.map((image) => image.naturalWidth)")
        assert sizes
        assert min(sizes) > 0
        assert tab.locator("#tiles canvas").count() == 1 + 2 * 4
        assert all(np.ptp(pixels(tab, canvas(number), 24, 24)) > 100 for number in range(5))
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert violations(tab) == []


@LOOKS
def test_a_page_of_everything_is_accessible(browser, written, look):
    with opened(browser, written, **look) as tab:
        settled(tab)
        assert violations(tab) == []
        tab.locator("th button").first.click()
        tab.locator("#play").click()
        assert violations(tab) == []


def test_axe_finds_what_is_wrong(tab):
    tab.evaluate("document.querySelector('img').removeAttribute('alt')")
    assert [rule for rule, _ in violations(tab)] == ["image-alt"]


def column(tab, number):
    return tab.locator(f"#table-time tbody td:nth-child({number + 1})").all_inner_texts()


def test_tables_are_sorted_by_number_with_what_is_not_available_last(tab):
    before = column(tab, 1)
    heading = tab.locator("#table-time th").nth(1)
    button = heading.get_by_role("button")
    button.click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert column(tab, 1) == ["-2.0", "9.0 ± 1.0", "10.0 ± 1.0", "n/a"]
    assert column(tab, 0) == ["bart-cudnn", "keras-tensorflow", "bart", "cg-sense"]
    button.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert column(tab, 1) == ["10.0 ± 1.0", "9.0 ± 1.0", "-2.0", "n/a"]
    button.press("Space")
    assert heading.get_attribute("aria-sort") is None
    assert column(tab, 1) == before


def test_one_column_at_a_time_is_the_order(tab):
    tab.locator("#table-time th button").nth(1).click()
    tab.locator("#table-time th button").nth(2).click()
    assert column(tab, 2) == ["9.0", "11.0", "100.0", "n/a"]
    assert tab.locator("#table-time th[aria-sort]").count() == 1
    tab.locator("#table-time th button").nth(0).click()
    assert column(tab, 0) == ["bart", "bart-cudnn", "cg-sense", "keras-tensorflow"]


def test_images_and_errors_are_those_of_the_arrays(tab, stacks):
    for slice_number in range(3):
        tab.locator("#slice").fill(str(slice_number))
        settled(tab)
        shown = {name: stack[slice_number] / stacks["reference"][slice_number].max() for name, stack in stacks.items()}
        for number, (name, image) in enumerate(shown.items()):
            np.testing.assert_allclose(pixels(tab, canvas(number)), grey(image), atol=1, err_msg=name)
            if name != "reference":
                error = grey(GAIN * np.abs(image - shown["reference"]))
                np.testing.assert_allclose(pixels(tab, canvas(number, 1)), error, atol=2, err_msg=name)


def test_the_slice_is_named_by_its_number(tab):
    tab.locator("#slice").press("End")
    settled(tab)
    assert tab.locator("output[for=slice]").inner_text() == "8"
    assert tab.locator(canvas(2)).get_attribute("aria-label") == "bart, test slice 8"
    expect(tab.locator("#tiles figcaption").nth(2)).to_have_text("bartc")


def test_the_network_chooses_whose_images_stand_beside_the_reference(tab, stacks):
    tab.locator("#network").select_option("modl")
    settled(tab)
    assert tab.locator("#tiles figure").count() == 3
    expected = grey(stacks["bart"][0] / 2 / stacks["reference"][0].max())
    np.testing.assert_allclose(pixels(tab, canvas(2)), expected, atol=1)


def test_zoom_is_linked_and_reset_by_keys(tab, stacks):
    before = [pixels(tab, canvas(number)) for number in range(4)]
    tab.locator("#tiles").focus()
    for _ in range(2):
        tab.keyboard.press("+")
    settled(tab)
    assert tab.locator("#zoom").inner_text() == "225 %"
    for number, stack in enumerate(stacks.values()):
        image = grey(stack[0] / stacks["reference"][0].max())
        np.testing.assert_allclose(pixels(tab, canvas(number), 5, 3), image[2:5, 2:7], atol=1)
    assert tab.locator("#flicker.zoomed").count() == 1
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("0")
    settled(tab)
    assert tab.locator("#zoom").inner_text() == "100 %"
    for number, image in enumerate(before):
        np.testing.assert_array_equal(pixels(tab, canvas(number)), image)


def test_the_wheel_zooms_at_the_pointer_and_dragging_moves_all_images(tab, stacks):
    corners = {number: grey(stack[0] / stacks["reference"][0].max()) for number, stack in enumerate(stacks.values())}
    tab.locator(canvas(2)).scroll_into_view_if_needed()
    box = tab.locator(canvas(2)).bounding_box()
    left, top, right, bottom = box["x"] + 1, box["y"] + 1, box["x"] + box["width"] - 1, box["y"] + box["height"] - 1
    tab.mouse.move(left, top)
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -300 * np.log(4))
    tab.keyboard.up("Control")
    expect(tab.locator("#zoom")).to_have_text("400 %")
    settled(tab)
    for number, image in corners.items():
        assert abs(pixels(tab, canvas(number))[0, 0] - image[0, 0]) <= 1
    for _ in range(4):  # each moves the image by a quarter of its size at most
        tab.mouse.move(right, bottom)
        tab.mouse.down()
        tab.mouse.move(left, top)
        tab.mouse.up()
    settled(tab)
    for number, image in corners.items():
        assert abs(pixels(tab, canvas(number))[-1, -1] - image[-1, -1]) <= 1


def test_the_wheel_alone_scrolls_the_page(tab):
    tab.locator("#tiles").hover()
    before = tab.evaluate("scrollY")
    tab.mouse.wheel(0, -200)
    wait_until(tab, "before => scrollY < before", before)
    assert tab.locator("#zoom").inner_text() == "100 %"


def test_level_and_width_are_shared_by_images_and_leave_errors_alone(tab, stacks):
    error = pixels(tab, canvas(2, 1))
    tab.locator("#level").fill("40")
    tab.locator("#width").fill("20")
    settled(tab)
    assert tab.locator("output[for=level]").inner_text() == "40 %"
    for number, stack in enumerate(stacks.values()):
        image = stack[0] / stacks["reference"][0].max()
        # A step of 4095 is a quarter of a grey level in the whole window, and more than one in a fifth of it.
        np.testing.assert_allclose(pixels(tab, canvas(number)), grey(image, 0.3, 0.5), atol=2)
    np.testing.assert_array_equal(pixels(tab, canvas(2, 1)), error)
    tab.get_by_role("button", name="Reset view").click()
    settled(tab)
    first = grey(stacks["reference"][0] / stacks["reference"][0].max())
    np.testing.assert_allclose(pixels(tab, canvas(0)), first, atol=1)


def test_flicker_shows_one_of_two_in_the_same_place(tab, stacks):
    scale = stacks["reference"][0].max()
    caption = tab.locator("#flicker figcaption span")
    expect(caption).to_have_text("bart")
    np.testing.assert_allclose(pixels(tab, "#flicker canvas"), grey(stacks["bart"][0] / scale), atol=1)
    tab.get_by_role("button", name="Show the other").click()
    expect(caption).to_have_text("keras-tensorflow")
    np.testing.assert_allclose(pixels(tab, "#flicker canvas"), grey(stacks["keras-tensorflow"][0] / scale), atol=1)
    tab.locator("#first").select_option("reference")
    expect(caption).to_have_text("reference")
    tab.locator("#flicker").focus()
    tab.keyboard.press("f")
    expect(caption).to_have_text("keras-tensorflow")


def test_flicker_alternates_until_it_is_stopped_and_never_above_three_a_second(tab):
    tab.locator("#pace").press("End")
    assert tab.locator("output[for=pace]").inner_text() == "3 / s"
    button = tab.get_by_role("button", name="Alternate")
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    for name in ("keras-tensorflow", "bart", "keras-tensorflow"):
        expect(tab.locator("#flicker figcaption span")).to_have_text(name)
    tab.get_by_role("button", name="Stop").click()
    name = tab.locator("#flicker figcaption span").inner_text()
    tab.wait_for_timeout(800)
    assert tab.locator("#flicker figcaption span").inner_text() == name


def test_two_fingers_zoom_on_a_phone(browser, written):
    with opened(browser, written, viewport=PHONE, has_touch=True, is_mobile=True) as tab:
        settled(tab)
        tab.locator(canvas(0)).scroll_into_view_if_needed()
        box = tab.locator(canvas(0)).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        client = tab.context.new_cdp_session(tab)
        for kind, gap in [("touchStart", 10), ("touchMove", 20), ("touchMove", 40)]:
            points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        settled(tab)
        expect(tab.locator("#zoom")).not_to_have_text("100 %")
        assert float(tab.locator("#zoom").inner_text().removesuffix("%")) > 200


def test_every_control_is_reached_with_the_tab_key(tab):
    check_tab_reaches_all(tab, "a[href], button, input, select, summary, [tabindex='0']")


def test_without_javascript_tables_and_figures_are_there(browser, written):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(written.as_uri())
    assert column(tab, 0)[0] == "bart"
    assert tab.locator("#figure-empty img").is_visible()
    assert not tab.locator("#viewer").is_visible()
    assert tab.locator("#no-viewer").is_visible()
    context.close()


def test_on_paper_there_are_tables_and_images_but_no_controls(tab, tmp_path):
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.locator("#table-time table").is_visible()
    assert tab.locator(canvas(2)).is_visible()
    assert not tab.locator("#slice").is_visible()
    assert not tab.locator("nav").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
