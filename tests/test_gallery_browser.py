"""The page of `diffumask show` in headless Chromium, opened as a file."""

import json
import re
import shutil

import numpy as np
import pytest
from commands import done
from gallery_folders import BIRD, HEIGHT, WIDTH, write_items

from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.gallery.marks import read_marks
from diffumask.masks.enlarge import enlarge
from diffumask.masks.unary import label_probabilities

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "a bird </script><script>alert(1)</script><img src=x onerror=alert(2)>"
N_ITEMS = 64  # more than a page of 60
QUALITIES = {f"Bird_{index:06d}": round(index / N_ITEMS, 4) for index in range(N_ITEMS)}
# Read from a copy, because Chromium complains of a canvas that is read often.
LAYER = """(tile) => {
  const canvas = tile.querySelector("canvas");
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  return [...new Uint32Array(pixels.data.buffer)];
}"""
TIMEOUT_MS = 20_000


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed (Debian: {BROWSERS[0]})")
    with playwright.sync_playwright() as driver:
        # Without a sandbox, because Chromium has none for root; the page is our own.
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lines = {
        name: {
            "verdict": "kept" if quality >= 0.25 else "dropped",
            "reason": f"iou {quality}",
            "quality": quality,
        }
        for name, quality in QUALITIES.items()
    }
    folder = write_items(tmp_path_factory.mktemp("gallery") / "birds", lines)
    lone = {"Cat_000000": {}}
    write_items(folder, lone, text=HOSTILE, targets=(BIRD,), with_maps=False)
    done("show", folder)
    return folder


@pytest.fixture
def opened(browser, folder):
    """Open the page; whatever it complains of or asks the network for fails the test."""
    contexts, complaints = [], []

    def open_page(script=None, dataset=folder, **options):
        context = browser.new_context(**({"viewport": {"width": 1000, "height": 800}} | options))
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: complaints.append(request.url) if is_far(request) else 0)
        page.goto(dataset.with_suffix(".html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_far(request):
    return request.url.partition(":")[0] not in {"file", "data", "blob"}


def names(page):
    return page.eval_on_selector_all("#items li", "tiles => tiles.map(one => one.dataset.name)")


def tile(page, name):
    return page.locator(f'li[data-name="{name}"] .tile')


def slide(page, value):
    """Move the slider and wait until the masks are painted."""
    page.fill("#threshold", str(value))
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def focused(page):
    return page.evaluate("document.activeElement.closest('li')?.dataset.name")


def exported(page, path, folder):
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "marks.json"
    download.value.save_as(path)
    return read_marks(path, folder)


def test_it_opens_with_pages_of_pictures(opened):
    page = opened()
    assert page.inner_text("h1") == "birds"
    assert "65 items, 1 to 60 shown" in page.inner_text("#count")
    assert len(names(page)) == 60
    sizes = page.eval_on_selector_all(
        "li:first-child img", "images => images.map(one => [one.naturalWidth, one.naturalHeight])"
    )
    assert sizes == [[WIDTH, HEIGHT]] * 2
    page.click("#later")
    assert names(page)[-1] == "Cat_000000"
    assert page.is_disabled("#later")


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_the_slider_makes_the_mask_that_the_library_would(opened, folder, threshold):
    page = opened()
    (record,) = [one for one in read_records(folder) if "000003" in one.fields["file_name"]]
    _, affinities = read_maps(folder, record)
    heats = np.stack([enlarge(affinities[word], (HEIGHT, WIDTH)) for word in ("bird", "cat")])
    labels = label_probabilities(heats, [[threshold, threshold]])[0].argmax(0)
    slide(page, threshold)
    pixels = np.array(tile(page, "Bird_000003").evaluate(LAYER)).reshape(HEIGHT, WIDTH)
    bird, cat = 0xFFB4F00F, 0xFF693CFF  # the display colours, as alpha, blue, green, red
    expected = np.array([0, bird, cat])[labels]
    assert {0, bird, cat} == set(expected.flat)
    assert (pixels != expected).sum() <= 1  # heat that equals the threshold but for rounding


def test_the_slider_moves_the_mask_and_reset_brings_it_back(opened):
    page = opened()
    first = tile(page, "Bird_000000")
    assert first.locator(".stack").get_attribute("data-layer") == "mask"
    areas = []
    for threshold in (0.1, 0.5, 0.9):
        slide(page, threshold)
        areas.append(sum(pixel > 0 for pixel in first.evaluate(LAYER)))
    assert areas[0] > areas[1] > areas[2] > 0
    assert first.locator(".stack").get_attribute("data-layer") == "live"
    page.click("#reset")
    page.wait_for_selector('li:first-child .stack[data-layer="mask"]')
    assert page.get_attribute("#threshold", "aria-valuetext") == "as made"


def test_overlay_heat_map_and_opacity(opened):
    page = opened()
    stack = page.locator("li:first-child .stack")
    page.get_by_label("Heat map").check()
    page.wait_for_selector('li:first-child .stack[data-layer="live"]')
    assert len(set(tile(page, "Bird_000000").evaluate(LAYER))) > 50
    page.keyboard.press("o")
    page.wait_for_selector('li:first-child .stack[data-layer="none"]')
    assert not stack.locator("canvas").is_visible()
    page.fill("#opacity", "80")
    page.keyboard.press("m")
    page.wait_for_selector('li:first-child .stack[data-layer="mask"]')
    playwright.expect(page.locator(".mask").first).to_have_css("opacity", "0.8")


def test_without_heat_maps_the_masks_are_there(opened, tmp_path):
    dataset = write_items(tmp_path / "plain", {"Bird_000000": {}}, with_maps=False)
    done("show", dataset)
    page = opened(dataset=dataset)
    assert page.is_disabled("#threshold")
    tile(page, "Bird_000000").focus()
    for key in ("h", "]", "0"):
        page.keyboard.press(key)
    assert page.get_attribute(".stack", "data-layer") == "mask"
    page.keyboard.press("o")
    page.wait_for_selector('.stack[data-layer="none"]')


def test_filters_and_sorting(opened):
    page = opened()
    page.select_option("[name=sort]", "quality")
    page.select_option("[name=order]", "down")
    best = sorted(QUALITIES, key=lambda name: -QUALITIES[name])
    assert names(page) == best[:60]
    page.select_option("[name=score]", "quality")
    page.fill("[name=low]", "0.2")
    page.fill("[name=high]", "0.3")
    assert names(page) == [name for name in best if 0.2 <= QUALITIES[name] <= 0.3]
    page.select_option("[name=verdict]", "dropped")
    assert names(page) == [name for name in best if 0.2 <= QUALITIES[name] < 0.25]
    page.click("#filter [type=reset]")
    playwright.expect(page.locator("#items li")).to_have_count(60)
    page.fill("[name=words]", "SCRIPT")
    assert names(page) == ["Cat_000000"]
    page.fill("[name=words]", "")
    page.select_option("[name=class]", "cat")
    assert "64 of 65 items" in page.inner_text("#count")
    page.select_option("[name=verdict]", "none")
    assert "0 of 65 items" in page.inner_text("#count")


def test_the_keyboard_is_enough(opened, folder, tmp_path):
    page = opened()
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page):
            break
    assert focused(page) == "Bird_000000"
    page.keyboard.press("a")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    page.keyboard.press("ArrowDown")
    below = focused(page)
    assert int(below[-6:]) > 2
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    page.keyboard.press("r")
    page.keyboard.press("]")
    assert "before refinement" in page.inner_text("#detail-live")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert int(focused(page)[-6:]) == int(below[-6:]) + 1
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Bird_000060"
    assert "1 accepted, 1 rejected" in page.inner_text("#tally")
    marks = exported(page, tmp_path / "marks.json", folder)
    assert marks == {"Bird_000000": "accepted", "Bird_000001": "rejected"}


def test_marks_by_click_are_kept_and_load_elsewhere(opened, folder, tmp_path):
    page = opened()
    page.click('li[data-name="Bird_000002"] [data-mark="rejected"]')
    tile(page, "Bird_000003").click()
    page.click('#detail [data-mark="accepted"]')
    page.click("#close")
    page.reload()
    assert page.get_attribute('li[data-name="Bird_000002"]', "data-is") == "rejected"
    marks = exported(page, tmp_path / "marks.json", folder)
    assert marks == {"Bird_000002": "rejected", "Bird_000003": "accepted"}
    page.select_option("[name=mark]", "rejected")
    assert names(page) == ["Bird_000002"]
    other = opened()
    other.set_input_files("#marks-file", tmp_path / "marks.json")
    other.wait_for_selector('li[data-name="Bird_000002"][data-is="rejected"]')


@pytest.mark.parametrize("content", ["{", "[]", '{"made_by": "diffumask show", "marks": {}}'])
def test_other_files_of_marks_are_refused(opened, tmp_path, content):
    (tmp_path / "marks.json").write_text(content)
    page = opened()
    page.set_input_files("#marks-file", tmp_path / "marks.json")
    page.wait_for_selector("#note:visible")
    assert page.inner_text("#note").startswith("Expected")


def test_marks_work_where_the_browser_keeps_none(opened, folder, tmp_path):
    denied = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied') }})"
    page = opened(denied)
    assert "export them before you close it" in page.inner_text("#note")
    tile(page, "Bird_000000").focus()
    page.keyboard.press("r")
    assert exported(page, tmp_path / "marks.json", folder) == {"Bird_000000": "rejected"}


def test_a_hostile_prompt_is_text(opened):
    page = opened()
    page.fill("[name=words]", "script")
    tile(page, "Cat_000000").click()
    assert page.inner_text("#detail-prompt") == HOSTILE
    assert page.locator("#detail img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_all(opened, scheme):
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.click("#filters summary")
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    tile(page, "Bird_000000").click()
    assert page.evaluate(fits)
    assert page.evaluate("document.querySelector('#detail').scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    (red, *_) = json.loads(f"[{ground.partition('(')[2].rstrip(')')}]")
    assert (red < 64) == (scheme == "dark")


def test_every_control_has_a_name_for_screen_readers(opened):
    page = opened()
    whole = page.locator("body").aria_snapshot()
    tile(page, "Bird_000000").click()
    large = page.locator("#detail").aria_snapshot()
    for snapshot, n_least in ((whole, 190), (large, 10)):
        controls = re.findall(
            r"- (?:button|slider|radio|combobox|searchbox|spinbutton).*", snapshot
        )
        assert len(controls) >= n_least
        assert [one for one in controls if '"' not in one] == []
