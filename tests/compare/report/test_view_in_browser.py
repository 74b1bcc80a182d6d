"""The page of `bart-tf view` in a real headless Chromium: pixels, values, differences and profiles of known arrays."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from bart_bridge.files import cfl
from tests.compare.conftest import bart_tf_in_process
from tests.compare.report.browsing import check_tab_reaches_all, opened
from tests.compare.report.test_page_in_browser import DESK, LOOKS

PIXELS = """(canvas, [columns, rows]) => {
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const at = (i, size, length) => Math.floor(((i + 0.25) * length) / size);
  return Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => {
    const start = 4 * (at(row, rows, height) * width + at(column, columns, width));
    return [...data.slice(start, start + 3)];
  }));
}"""
ROWS, COLUMNS = 6, 8
NAN, INFINITE = [0xD5, 0x5E, 0x00], [0x56, 0xB4, 0xE9]


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    shape = (ROWS, COLUMNS, 1, 3)
    images = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    images[1, 2, 0, 0], images[4, 5, 0, 0] = np.nan, complex(0, np.inf)
    noisy = images[..., :1] + np.complex64(0.125)
    ramp = np.linspace(-2, 2, 10).astype(np.complex64)
    return {
        "images": images,
        "noisy": noisy,
        "kspace": (10.0 ** -np.arange(ROWS))[:, None].repeat(COLUMNS, axis=1).astype(np.complex64),
        "zeros": np.zeros((4, 4), np.complex64),
        "ramp": ramp,
        "single": np.array([3 - 4j], np.complex64),
    }


@pytest.fixture(scope="module")
def written(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    for name, array in arrays.items():
        cfl.write(folder / name, array)
    page = folder / "page.html"
    said = bart_tf_in_process("view", *(folder / name for name in arrays), "-o", page)
    assert said.returncode == 0, said.stderr
    return page


@pytest.fixture
def tab(browser, written):
    with opened(browser, written, color_scheme="light", viewport=DESK) as tab:
        settled(tab)
        yield tab


def settled(tab):
    expect(tab.locator("#viewer")).to_have_attribute("aria-busy", "false")


def tile(tab, name):
    return tab.locator("#tiles figure").filter(has=tab.locator(".engine", has_text=name)).first


def pixels(locator, columns=COLUMNS, rows=ROWS):
    return np.array(locator.evaluate(PIXELS, [columns, rows]))


def set_range(tab, selector, value):
    tab.locator(selector).fill(str(value))
    settled(tab)


def grey(values, low, high):
    return np.clip(np.rint(255 * (np.asarray(values, np.float64) - low) / (high - low)), 0, 255)


def assert_grey(shown, values, low, high):
    finite = np.isfinite(values)
    expected = np.repeat(grey(np.where(finite, values, 0), low, high)[..., None], 3, axis=-1)
    np.testing.assert_allclose(shown[finite], expected[finite], atol=1)


@pytest.mark.parametrize("component", ["magnitude", "phase", "real", "imaginary", "log magnitude"])
def test_an_image_shows_each_component_exactly(tab, arrays, component):
    image = tile(tab, "images")
    image.locator("select").select_option(component)
    settled(tab)
    values, largest = arrays["images"][:, :, 0, 0], np.abs(arrays["images"])[np.isfinite(arrays["images"])].max()
    with np.errstate(all="ignore"):
        shown, low, high = {
            "magnitude": (np.abs(values), 0, largest),
            "phase": (np.angle(values), -np.pi, np.pi),
            "real": (values.real, -largest, largest),
            "imaginary": (values.imag, -largest, largest),
            "log magnitude": (20 * np.log10(np.abs(values) / largest), -80, 0),
        }[component]
    shown = np.where(np.isfinite(values), shown, np.nan)
    assert_grey(pixels(image.locator("canvas")), shown, low, high)
    assert f"{component}, coil 0; black to white" in image.inner_text()


def test_what_is_not_finite_has_its_own_colours_and_is_counted(tab):
    image = tile(tab, "images")
    shown = pixels(image.locator("canvas"))
    assert (shown[1, 2].tolist(), shown[4, 5].tolist()) == (NAN, INFINITE)
    expect(image).to_contain_text("1 NaN, 1 infinite")
    assert "1 NaN, 1 infinite" in image.locator("canvas").get_attribute("aria-label")
    set_range(tab, "#loop-coil", 1)
    expect(image.locator("canvas + p + p")).to_be_empty()


def test_zeros_lines_and_single_values_are_named(tab):
    expect(tile(tab, "zeros")).to_contain_text("all values are 0")
    expect(tile(tab, "ramp")).to_contain_text("one-dimensional: see the profile below")
    expect(tile(tab, "single")).to_contain_text("one value: see the table below")
    assert not tile(tab, "ramp").locator("canvas").is_visible()


def test_kspace_begins_as_logarithm(tab, arrays):
    image = tile(tab, "kspace")
    assert image.locator("select").input_value() == "log magnitude"
    decibel = 20 * np.log10(np.abs(arrays["kspace"]))
    assert_grey(pixels(image.locator("canvas")), decibel, -80, 0)


def test_sliders_go_through_a_dimension_by_its_name(tab, arrays):
    set_range(tab, "#loop-coil", 2)
    expect(tab.locator("output[for=loop-coil]")).to_have_text("2 of 0 to 2")
    image = tile(tab, "images").locator("canvas")
    largest = np.abs(arrays["images"])[np.isfinite(arrays["images"])].max()
    assert_grey(pixels(image), np.abs(arrays["images"][:, :, 0, 2]), 0, largest)
    assert image.get_attribute("aria-label") == "images, magnitude, coil 2"


def test_level_and_width_and_one_scale_for_all(tab, arrays):
    set_range(tab, "#loop-coil", 1)
    set_range(tab, "#level", 25)
    set_range(tab, "#width", 50)
    largest = np.abs(arrays["images"])[np.isfinite(arrays["images"])].max()
    image = np.abs(arrays["images"][:, :, 0, 1])
    assert_grey(pixels(tile(tab, "images").locator("canvas")), image, 0, largest / 2)
    tab.get_by_label("Same scale for all").check()
    settled(tab)
    assert_grey(pixels(tile(tab, "images").locator("canvas")), image, 0, 5 / 2)  # the single value is the largest
    tab.get_by_role("button", name="Reset view").click()
    settled(tab)
    assert tab.locator("#width").input_value() == "100"


def test_the_table_has_exact_values_of_the_pixel(tab, arrays):
    set_range(tab, "#loop-coil", 1)
    set_range(tab, "#row", 3)
    set_range(tab, "#column", 7)
    cells = tab.locator("#values tr").nth(0).locator("td").all_inner_texts()
    value = arrays["images"][3, 7, 0, 1]
    assert cells[1] == "x 3, y 7, coil 1"
    assert [np.float32(cell) for cell in cells[2:4]] == [value.real, value.imag]
    assert float(cells[4]) == pytest.approx(abs(value), rel=1e-6)
    assert float(cells[5]) == pytest.approx(np.angle(value), rel=1e-5)
    assert tab.locator("#values tr").nth(5).locator("td").all_inner_texts()[2:4] == ["3", "-4"]


def test_the_pointer_shows_values_and_a_click_keeps_them(tab, arrays):
    canvas = tile(tab, "noisy").locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 2.5 / COLUMNS, box["y"] + box["height"] * 0.5 / ROWS)
    pixel = tab.locator("#values tr").nth(1).locator("td")
    expect(pixel.nth(1)).to_have_text("x 0, y 2")
    assert np.float32(pixel.nth(2).inner_text()) == arrays["noisy"][0, 2, 0, 0].real
    tab.mouse.move(5, 5)
    expect(pixel.nth(1)).to_have_text("x 3, y 4")
    canvas.click(position={"x": box["width"] * 2.5 / COLUMNS, "y": box["height"] * 0.5 / ROWS})
    tab.mouse.move(5, 5)
    expect(pixel.nth(1)).to_have_text("x 0, y 2")
    assert tab.locator("#row").input_value() == "0"


def test_nan_in_the_table(tab):
    set_range(tab, "#row", 1)
    set_range(tab, "#column", 2)
    expect(tab.locator("#values tr").nth(0)).to_contain_text("NaN")


def test_the_difference_is_that_of_complex_values_or_of_magnitudes(tab, arrays):
    one, other = arrays["images"][:, :, 0, 0], arrays["noisy"][:, :, 0, 0]
    text = tab.locator("#difference-text")
    finite = np.isfinite(one)
    norm = np.linalg.norm(one[finite] - other[finite]) / np.linalg.norm(other[finite])
    expect(text).to_contain_text("0 to 0.125; its norm is ")
    said = float(text.inner_text().split("its norm is ")[1].split(" ")[0])
    assert said == pytest.approx(norm, rel=1e-4)
    expect(text).to_contain_text("2 values that are not finite are left out")
    shown = pixels(tab.locator("#difference-image"))
    assert (shown[finite] >= 254).all()
    tab.locator("#difference-of").select_option("magnitude")
    settled(tab)
    magnitudes = np.abs(np.abs(np.where(finite, one, 0)) - np.abs(np.where(finite, other, 0)))
    assert_grey(
        pixels(tab.locator("#difference-image")), np.where(finite, magnitudes, np.nan), 0, magnitudes[finite].max()
    )


def test_images_of_other_sizes_have_no_difference_and_equal_ones_none_to_see(tab):
    tab.locator("#second").select_option("zeros")
    settled(tab)
    expect(tab.locator("#difference-text")).to_have_text(
        "No difference: the images of images have x 6, y 8, those of zeros x 4, y 4."
    )
    assert not tab.locator("#difference-image").is_visible()
    tab.locator("#first").select_option("zeros")
    settled(tab)
    expect(tab.locator("#difference-text")).to_have_text("The images are the same.")


def test_the_profile_goes_through_the_pixel(tab, arrays):
    set_range(tab, "#loop-coil", 2)
    set_range(tab, "#row", 2)
    set_range(tab, "#column", 5)
    lines = tab.locator("#profile > svg polyline")
    svg = tab.locator("#profile > svg")
    assert svg.get_attribute("aria-label").startswith(
        "magnitude along x of images, noisy, kspace, zeros, ramp, from 0 "
    )
    heights = [float(point.split(",")[1]) for point in lines.nth(0).get_attribute("points").split()]
    values = np.abs(arrays["images"][:, 5, 0, 2])
    assert np.corrcoef(heights, values)[0, 1] == pytest.approx(-1, abs=1e-5)
    tab.locator("#along").select_option("y")
    tab.locator("#profile-of").select_option("imaginary")
    settled(tab)
    heights = [float(point.split(",")[1]) for point in lines.nth(0).get_attribute("points").split()]
    assert np.corrcoef(heights, arrays["images"][2, :, 0, 2].imag)[0, 1] == pytest.approx(-1, abs=1e-5)
    expect(tab.locator("#no-line")).to_have_text("Without a line along y here: ramp, single.")
    tab.locator("#lines").get_by_label("images").uncheck()
    settled(tab)
    assert svg.get_attribute("aria-label").startswith("imaginary along y of noisy, kspace, zeros, from ")


def test_values_that_are_not_finite_leave_a_gap_in_the_profile(tab):
    set_range(tab, "#row", 1)
    before = tab.locator("#profile > svg polyline").count()
    set_range(tab, "#column", 2)
    # The line of `images` and that of `noisy` are in two pieces each.
    assert tab.locator("#profile > svg polyline").count() == before + 2


def test_zoom_is_linked_by_keys(tab, arrays):
    tab.locator("#tiles").focus()
    tab.keyboard.press("+")
    tab.keyboard.press("+")
    settled(tab)
    assert tab.locator("#zoom").inner_text() == "225 %"
    assert tab.locator(".stage.zoomed").count() == 2
    tab.keyboard.press("0")
    settled(tab)
    assert tab.locator("#zoom").inner_text() == "100 %"


@LOOKS
def test_axe_finds_nothing_and_nothing_overflows(browser, written, look):
    with opened(browser, written, **look) as tab:
        settled(tab)
        assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        report = Axe().run(tab)
        assert report.violations_count == 0, report.generate_report()


def test_every_control_is_reached_with_the_tab_key(tab):
    check_tab_reaches_all(tab, "a[href], button, input, select, [tabindex='0']")


def test_on_paper_there_are_images_and_values_but_no_controls(tab):
    tab.emulate_media(media="print", color_scheme="dark")
    assert tile(tab, "images").locator("canvas").is_visible()
    assert tab.locator("#values tr").first.is_visible()
    for hidden in ("#level", "#loops", "#tiles select"):
        assert not tab.locator(hidden).first.is_visible()


def test_without_javascript_a_line_says_so(browser, written):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(written.as_uri())
    assert tab.locator("#no-viewer").is_visible()
    assert not tab.locator("#viewer").is_visible()
    context.close()


def test_one_array_has_no_difference(browser, arrays, tmp_path):
    cfl.write(tmp_path / "ramp", arrays["ramp"])
    assert bart_tf_in_process("view", tmp_path / "ramp", "-o", tmp_path / "page.html").returncode == 0
    with opened(browser, tmp_path / "page.html") as tab:
        settled(tab)
        assert not tab.locator("#difference").is_visible()
        assert tab.locator("#profile > svg polyline").count() == 1
        assert not tab.locator("#column").is_visible()


def test_two_lines_of_many_values_can_be_seen(browser, tmp_path):
    values = np.arange(2 * 5000, dtype=np.complex64).reshape(2, 5000)
    cfl.write(tmp_path / "lines", values)
    said = bart_tf_in_process("view", tmp_path / "lines", "-o", tmp_path / "page.html")
    assert said.returncode == 0, said.stderr
    with opened(browser, tmp_path / "page.html", viewport=DESK) as tab:
        settled(tab)
        box = tile(tab, "lines").locator("canvas").bounding_box()
        assert box["height"] > box["width"] / 9
        assert tab.locator("#along").input_value() == "y"
        assert tab.locator("#profile > svg").get_attribute("aria-label").startswith("magnitude along y of lines, from ")
