"""The page of `diffumask show` in headless Chromium, opened as a file or served."""

import json
import re
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from commands import done
from gallery_folders import BIRD, CAT, CLASSES, HEIGHT, SETTINGS, WIDTH, write_items

from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.dataset.run import Run
from diffumask.draw import display_palette
from diffumask.gallery.entries import Source
from diffumask.gallery.live import Live
from diffumask.gallery.marks import read_marks
from diffumask.gallery.page import render, write_page
from diffumask.gallery.server import ANY_PORT, open_server
from diffumask.masks.enlarge import enlarge
from diffumask.masks.unary import label_probabilities

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "a bird </script><script>alert(1)</script><img src=x onerror=alert(2)>"
N_ITEMS = 64
QUALITIES = {f"Bird_{index:06d}": round(index / N_ITEMS, 4) for index in range(N_ITEMS)}
# Read from a copy, because Chromium complains of a canvas that is read often.
PIXELS = """(tile) => {
  const canvas = tile.querySelector("canvas");
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return [...new Set(new Uint32Array(data.buffer))];
}"""
TIMEOUT_MS = 20_000
ENDED = "ERR_CONNECTION_REFUSED"  # what a page is told whose server has ended
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed (Debian: {BROWSERS[0]})")
    with playwright.sync_playwright() as driver:
        # Without a sandbox, because Chromium has none for root; the page is our own.
        started = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
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

    def open_page(script=None, dataset=folder, url=None, **options):
        context = browser.new_context(**({"viewport": {"width": 1000, "height": 800}} | options))
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on(
            "console",
            lambda message: complaints.append(message.text) if ENDED not in message.text else 0,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
        page.on(
            "request",
            lambda request: complaints.append(request.url) if is_far(request.url, url) else 0,
        )
        page.goto(url or dataset.with_suffix(".html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_far(asked, url):
    return asked.partition(":")[0] not in {"file", "data", "blob"} and not asked.startswith(
        url or " "
    )


def names(page):
    """The items that the page shows, also those that have to be scrolled to."""
    return page.evaluate("view.items.map((item) => item.name)")


def shown(page):
    return page.eval_on_selector_all("#items li", "tiles => tiles.map(one => one.dataset.name)")


def tile(page, name):
    return page.locator(f'li[data-name="{name}"] .tile')


def current(page):
    """The one picture that has a frame, "" where none can be seen."""
    found = page.eval_on_selector_all(
        "li.current",
        """tiles => tiles.filter((one) => {
          const { top, bottom } = one.getBoundingClientRect();
          return top >= 0 && bottom <= innerHeight;
        }).map((one) => one.dataset.name)""",
    )
    return found[0] if found else ""


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def slide(page, selector, value):
    """Move a slider and wait until the masks are painted."""
    page.fill(selector, str(value))
    settle(page)


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def until(page, condition):
    """Wait; what Playwright has for this the policy of the page forbids."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def pixels(page, name):
    """The colours of the layer over a picture, as red, green, blue and alpha."""
    return {tuple(one.to_bytes(4, "little")) for one in tile(page, name).evaluate(PIXELS)}


def said(page):
    return page.inner_text("#toast.shown #said")


def marks_of(page):
    return page.evaluate("Object.fromEntries(marks)")


def exported(page, path, folder):
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "marks.json"
    download.value.save_as(path)
    return read_marks(path, folder)


def test_it_opens_with_the_first_pictures(opened):
    page = opened()
    assert page.inner_text("h1") == "birds"
    assert page.inner_text("#count") == "65 items"
    assert len(names(page)) == 65
    assert shown(page) == names(page)[: len(shown(page))]
    size = page.eval_on_selector("li img", "image => [image.naturalWidth, image.naturalHeight]")
    assert size == [WIDTH, HEIGHT]


def test_of_3000_items_only_those_in_view_are_in_the_page(opened, folder, tmp_path):
    (first, *_) = Source(folder, None, 256).entries().values()
    item = Source(folder, None, 256).read(first, "affinity")
    items = [item | {"name": f"Bird_{index:06d}"} for index in range(3000)]
    write_page(tmp_path / "many.html", render("many", Run(SETTINGS, CLASSES, ()), items))
    page = opened(dataset=tmp_path / "many")
    assert page.inner_text("#count") == "3000 items"
    for keys, name in (
        (["ArrowRight"], "Bird_000000"),
        (["End"], "Bird_002999"),
        (["PageUp", "a"], None),
        (["Home"], "Bird_000000"),
    ):
        press(page, *keys)
        assert name is None or current(page) == name
        assert len(shown(page)) <= 60
        assert page.evaluate("document.querySelectorAll('*').length") < 1500


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_the_slider_makes_the_mask_that_the_library_would(opened, folder, threshold):
    page = opened()
    (record,) = [one for one in read_records(folder) if "000003" in one.fields["file_name"]]
    _, affinities = read_maps(folder, record)
    heats = np.stack([enlarge(affinities[word], (HEIGHT, WIDTH)) for word in ("bird", "cat")])
    labels = label_probabilities(heats, [[threshold, threshold]])[0].argmax(0)
    slide(page, "#threshold", threshold)
    found = np.array(page.evaluate("[...labelsOf(itemOf.get('Bird_000003'))]"))
    expected = np.array([0, BIRD.class_id, CAT.class_id])[labels].ravel()
    assert set(expected) == {0, 3, 8}
    assert (found != expected).sum() <= 1  # heat that equals the threshold but for rounding


def test_the_slider_moves_the_mask_and_reset_brings_it_back(opened):
    page = opened()
    areas = []
    for threshold in (0.1, 0.5, 0.9):
        slide(page, "#threshold", threshold)
        areas.append(page.evaluate("foreground(data.items[0])"))
    assert areas[0] > areas[1] > areas[2] > 0
    page.click("#reset")
    assert page.get_attribute("#threshold", "aria-valuetext") == "as made"
    assert page.evaluate("foreground(data.items[0])") == 64 / (WIDTH * HEIGHT)


def test_a_mask_is_tinted_and_has_an_outline_in_the_full_colour_of_its_class(opened):
    page = opened()
    bird = tuple(map(int, display_palette(CLASSES.values())[BIRD.class_id]))
    press(page, "ArrowRight")
    alphas = {alpha for *rgb, alpha in pixels(page, "Bird_000000")}
    assert alphas == {0, 128, 191, 255}  # the stripes are where it is uncertain
    assert (*bird, 255) in pixels(page, "Bird_000000")
    page.fill("#opacity", "80")
    settle(page)
    assert {alpha for *rgb, alpha in pixels(page, "Bird_000000")} == {0, 191, 204, 255}
    press(page, "d")
    settle(page)
    assert pixels(page, "Bird_000000") == {(0, 0, 0, 178), (0, 0, 0, 0), (*bird, 255)} | {
        one
        for one in pixels(page, "Bird_000000")
        if one[3] == 191  # uncertain
    }


def test_overlay_and_heat_map(opened):
    page = opened()
    press(page, "h")
    page.wait_for_selector('li:first-child .stack[data-layer="heat"]')
    assert len(pixels(page, "Bird_000000")) > 50
    press(page, "o")
    page.wait_for_selector('li:first-child .stack[data-layer="none"]')
    assert not page.locator("li:first-child canvas").is_visible()
    press(page, "m")
    page.wait_for_selector('li:first-child .stack[data-layer="mask"]')


def test_without_heat_maps_the_masks_are_there(opened, tmp_path):
    dataset = write_items(tmp_path / "plain", {"Bird_000000": {}}, with_maps=False)
    done("show", dataset)
    page = opened(dataset=dataset)
    assert page.is_disabled("#threshold")
    press(page, "h", "]", "0")
    assert page.get_attribute(".stack", "data-layer") == "mask"
    press(page, "o")
    page.wait_for_selector('.stack[data-layer="none"]')


def test_filters_and_sorting(opened):
    page = opened()
    page.select_option("[name=sort]", "quality")
    page.select_option("[name=order]", "down")
    best = sorted(QUALITIES, key=lambda name: -QUALITIES[name])
    assert names(page) == [*best, "Cat_000000"]
    page.get_by_label("quality at least").fill("20")
    page.get_by_label("quality at most").fill("30")
    assert names(page) == [name for name in best if 0.2 <= QUALITIES[name] <= 0.3]
    assert page.inner_text('[data-score="quality"] output') == "0.20 to 0.30"
    page.select_option("[name=verdict]", "dropped")
    assert names(page) == [name for name in best if 0.2 <= QUALITIES[name] < 0.25]
    page.click("#filter [type=reset]")
    until(page, "view.items.length === 65")
    page.fill("[name=words]", "SCRIPT")
    assert names(page) == ["Cat_000000"]
    page.select_option("[name=verdict]", "kept")
    assert page.inner_text("#count") == "0 of 65 items"


def test_a_range_of_a_score_is_drawn_over_its_histogram(opened):
    page = opened(**DESK)
    chart = page.locator('[data-score="quality"] svg')
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    x, y = box["x"] + 1, box["y"] + box["height"] / 2
    page.mouse.move(x + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 4, y, steps=3)
    page.mouse.up()
    assert page.inner_text('[data-score="quality"] output') in {"0.25 to 0.50", "0.26 to 0.51"}
    assert 15 <= len(names(page)) <= 17
    bars = page.eval_on_selector_all(
        '[data-score="quality"] path', "all => all.map((one) => one.getAttribute('d'))"
    )
    assert len(bars[0]) > 2 * len(bars[1]) > 0
    chart.click()
    assert len(names(page)) == 65


def test_ends_of_a_range_do_not_pass_each_other(opened):
    page = opened()
    page.get_by_label("quality at most").fill("30")
    page.get_by_label("quality at least").fill("50")
    assert page.get_by_label("quality at most").input_value() == "50"


def test_classes_are_counted_and_toggled(opened):
    page = opened()
    chips = page.locator("#legend .chip")
    assert chips.all_inner_texts() == ["bird 65", "cat 64"]
    page.select_option("[name=verdict]", "dropped")
    assert chips.all_inner_texts() == ["bird 16", "cat 16"]
    page.select_option("[name=verdict]", "")
    chips.nth(0).click()
    assert names(page) == sorted(QUALITIES)  # which have cats too
    settle(page)
    assert {alpha for *_, alpha in pixels(page, "Bird_000000")} == {0, 191}  # where it is uncertain
    chips.nth(1).click()
    assert names(page) == []
    page.get_by_role("button", name="all", exact=True).click()
    assert len(names(page)) == 65


def test_the_keyboard_is_enough_from_a_fresh_page(opened, folder, tmp_path):
    page = opened()
    assert current(page) == ""
    press(page, "ArrowRight")
    assert current(page) == "Bird_000000"
    press(page, "ArrowRight", "a")  # and on
    assert current(page) == "Bird_000002"
    press(page, "ArrowDown")
    below = current(page)
    assert int(below[-6:]) > 3
    press(page, "Enter")
    page.wait_for_selector("#detail[open]")
    press(page, "ArrowRight", "r")
    assert page.inner_text("#detail-name") == f"Bird_{int(below[-6:]) + 2:06d}"
    press(page, "]")
    assert "before refinement" in page.inner_text("#detail-live")
    press(page, "Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert current(page) == f"Bird_{int(below[-6:]) + 2:06d}"
    press(page, "End")
    assert current(page) == "Cat_000000"
    assert "1 accepted, 1 rejected" in page.inner_text("#tally")
    marks = exported(page, tmp_path / "marks.json", folder)
    assert marks == {"Bird_000001": "accepted", f"Bird_{int(below[-6:]) + 1:06d}": "rejected"}


def test_enter_opens_the_first_picture_of_a_fresh_page(opened):
    page = opened()
    press(page, "Enter")
    assert page.inner_text("#detail-name") == "Bird_000000"


def test_tab_reaches_the_pictures_too(opened):
    page = opened()
    for _ in range(60):
        press(page, "Tab")
        if page.evaluate("document.activeElement.matches('.tile')"):
            break
    assert current(page) == "Bird_000000"
    press(page, "Enter")
    assert page.inner_text("#detail-name") == "Bird_000000"


@pytest.mark.parametrize("key", ["a", "r", "x"])
def test_no_picture_is_marked_that_is_not_seen_to_be_current(opened, key):
    page = opened()
    press(page, key)
    assert said(page) == "No picture is chosen: choose one with the arrow keys first."
    press(page, "ArrowRight")
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 1500)
    until(page, "scrollY > 800")
    assert current(page) == ""
    press(page, key)
    assert said(page) == "Bird_000000 was out of view: here it is."
    assert marks_of(page) == {}
    assert current(page) == "Bird_000000"


def test_marks_are_undone_one_by_one(opened):
    page = opened()
    press(page, "ArrowRight", "a", "r", "r")
    assert current(page) == "Bird_000003"
    press(page, "u")
    assert current(page) == "Bird_000002"
    press(page, "Control+z")
    assert marks_of(page) == {"Bird_000000": "accepted"}
    page.click("#undo")
    press(page, "u")
    assert said(page) == "There is nothing to undo."
    assert marks_of(page) == {}
    assert page.is_disabled("#undo")


def test_x_takes_a_mark_away_and_stays(opened):
    page = opened()
    press(page, "ArrowRight", "a", "ArrowLeft", "x")
    assert (marks_of(page), current(page)) == ({}, "Bird_000000")


def test_a_range_is_chosen_and_marked_at_once(opened):
    page = opened()
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight")
    assert page.locator("li.chosen").count() == 3
    assert page.inner_text("#reject-all") == "Reject 3 chosen"
    press(page, "r")
    assert marks_of(page) == {f"Bird_{index:06d}": "rejected" for index in (1, 2, 3)}
    assert (current(page), page.locator("li.chosen").count()) == ("Bird_000004", 0)
    press(page, "u")
    assert marks_of(page) == {}
    tile(page, "Bird_000007").click(modifiers=["Shift"])
    press(page, "a")
    assert list(marks_of(page)) == [f"Bird_{index:06d}" for index in (4, 5, 6, 7)]
    press(page, "Shift+ArrowRight", "Escape")
    assert page.locator("li.chosen").count() == 0


def test_all_that_the_filter_shows_is_marked_and_unmarked_at_once(opened):
    page = opened()
    press(page, "ArrowRight", "a")
    page.select_option("[name=verdict]", "dropped")
    page.click("#reject-all")
    assert said(page) == "16 pictures rejected"
    assert marks_of(page) == {f"Bird_{index:06d}": "rejected" for index in range(16)}
    page.click("#toast-undo")
    assert marks_of(page) == {"Bird_000000": "accepted"}
    page.locator("h1").click()
    press(page, "Shift+A")
    assert len(marks_of(page)) == 16


def test_marks_by_click_are_kept_and_load_elsewhere(opened, folder, tmp_path):
    page = opened()
    page.click('li[data-name="Bird_000002"] [data-mark="rejected"]')
    tile(page, "Bird_000003").click()
    page.click('#detail [data-mark="accepted"]')
    assert page.inner_text("#detail-name") == "Bird_000004"
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
    press(other, "u")
    assert marks_of(other) == {}


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
    press(page, "ArrowRight", "r")
    assert exported(page, tmp_path / "marks.json", folder) == {"Bird_000000": "rejected"}


def test_the_large_picture_is_brought_closer_and_moved(opened):
    page = opened()
    press(page, "Enter", "+")
    assert page.inner_text("#zoom") == "150 %"
    before = page.evaluate("zoom.x")
    press(page, "Shift+ArrowRight")
    assert page.evaluate("zoom.x") < before
    press(page, "z")
    assert page.inner_text("#zoom") == "100 %"
    page.click("#zoom-in")
    page.click("#zoom-out")
    assert page.is_disabled("#zoom-out")
    box = page.locator("#detail-picture .stack").bounding_box()
    point = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    page.mouse.move(*point)
    page.mouse.wheel(0, -400)
    until(page, "zoom.scale > 2")
    left, scale = page.evaluate("[zoom.x, zoom.scale]")
    assert left == pytest.approx(box["width"] / 4 * (1 - scale), abs=2)  # the point stays in place
    page.mouse.down()
    page.mouse.move(point[0] - 40, point[1], steps=2)
    page.mouse.up()
    assert page.evaluate("zoom.x") == pytest.approx(left - 40, abs=1)
    press(page, "ArrowRight")
    assert page.inner_text("#zoom") == "100 %"


def test_fingers_swipe_and_pinch(opened):
    page = opened(**PHONE)
    press(page, "Enter")
    box = page.locator("#detail-picture .stack").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch(page, [[(x + 60 - step * 30, y)] for step in range(5)])
    assert page.inner_text("#detail-name") == "Bird_000001"
    touch(page, [[(x - 60 + step * 30, y)] for step in range(5)])
    assert page.inner_text("#detail-name") == "Bird_000000"
    touch(page, [[(x - 20 - step * 10, y), (x + 20 + step * 10, y)] for step in range(5)])
    assert page.evaluate("zoom.scale") == pytest.approx(3, rel=0.1)
    left = page.evaluate("zoom.x")
    touch(page, [[(x - step * 15, y)] for step in range(5)])  # moves what is closer
    assert page.evaluate("zoom.x") < left
    assert page.inner_text("#detail-name") == "Bird_000000"


def touch(page, moves):
    """Put fingers down where the first of the moves says, move them, and lift them."""
    driver = page.context.new_cdp_session(page)
    for number, points in enumerate(moves):
        kind = "touchMove" if number else "touchStart"
        at = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    driver.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)


def test_tiles_have_the_size_that_is_asked_for(opened):
    page = opened()
    widths = []
    for px in (96, 240):
        slide(page, "#size", px)
        widths.append(page.locator("li").first.bounding_box()["width"])
    assert 96 <= widths[0] < 150
    assert 240 <= widths[1] < 350


def test_a_broken_item_says_why_and_takes_no_mark(opened, tmp_path):
    lines = {"Bird_000000": {}, "Bird_000001": {}}
    dataset = write_items(tmp_path / "torn", lines)
    (dataset / "images/Bird_000000.png").unlink()
    done("show", dataset)
    page = opened(dataset=dataset)
    assert page.inner_text("#count") == "2 items, 1 broken"
    assert "images/Bird_000000.png is not there" in tile(page, "Bird_000000").inner_text()
    press(page, "ArrowRight", "r")
    assert said(page) == "Bird_000000 is broken and takes no mark."
    press(page, "Shift+A")
    assert marks_of(page) == {"Bird_000001": "accepted"}
    press(page, "Enter")
    assert "is not there" in page.inner_text("#detail-verdict")
    assert page.is_disabled('#detail [data-mark="accepted"]')
    press(page, "Escape")
    page.select_option("[name=files]", "broken")
    assert names(page) == ["Bird_000000"]


def test_masks_of_two_datasets_are_compared(opened, tmp_path):
    first = write_items(tmp_path / "first", {f"Bird_{index:06d}": {} for index in (0, 1)})
    second = write_items(tmp_path / "second", {f"Bird_{index:06d}": {} for index in (0, 2)})
    done("show", first, "--against", second)
    page = opened(dataset=first)
    assert page.inner_text("h1") == "first against second"
    assert "not in first" in tile(page, "Bird_000002").inner_text()
    press(page, "b")
    assert "not in second" in tile(page, "Bird_000001").inner_text()
    assert "not in first" not in tile(page, "Bird_000002").inner_text()
    press(page, "b")
    assert tile(page, "Bird_000000").locator(".stack").count() == 2
    press(page, "Enter")
    assert page.locator("#detail-picture figcaption").all_inner_texts() == ["first", "second"]
    assert "1.000" in page.locator("#detail-scores tr", has_text="iou").inner_text()
    press(page, "Escape", "End", "r")
    assert said(page) == "Bird_000002 is not in first and takes no mark."
    page.select_option("[name=files]", "this")
    assert names(page) == ["Bird_000001"]


def test_a_hostile_prompt_is_text(opened):
    page = opened()
    page.fill("[name=words]", "script")
    tile(page, "Cat_000000").click()
    assert page.inner_text("#detail-prompt") == HOSTILE
    assert page.locator("#detail img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [PHONE, DESK])
def test_it_fits_and_has_the_colours_that_are_asked_for(opened, scheme, options):
    page = opened(color_scheme=scheme, **options)
    width = options["viewport"]["width"]
    for details in ("#filters", "#more"):
        page.eval_on_selector(details, "one => (one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    press(page, "Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#detail').scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    (red, *_) = json.loads(f"[{ground.partition('(')[2].rstrip(')')}]")
    assert (red < 64) == (scheme == "dark")


SMALL = """(page) => [...page.querySelectorAll("button, select, summary, input, .choice span")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }))
  .filter((one) => !one.closest(".choice input"))
  .map((one) => [one.id || one.name || one.innerText, one.getBoundingClientRect()])
  .filter(([, box]) => box.width < 43.9 || box.height < 43.9)
  .map(([name, box]) => `${name} ${box.width}x${box.height}`)"""


def test_fingers_find_every_control(opened):
    page = opened(**PHONE)
    for details in ("#filters", "#more"):
        page.eval_on_selector(details, "one => (one.open = true)")
    press(page, "ArrowRight", "a")
    assert page.eval_on_selector("body", SMALL) == []
    press(page, "Enter")
    assert page.eval_on_selector("#detail", SMALL) == []


def test_every_control_has_a_name_for_screen_readers(opened):
    page = opened()
    whole = page.locator("body").aria_snapshot()
    tile(page, "Bird_000000").click()
    large = page.locator("#detail").aria_snapshot()
    for snapshot, n_least in ((whole, 50), (large, 10)):
        controls = re.findall(
            r"- (?:button|slider|radio|combobox|searchbox|spinbutton).*", snapshot
        )
        assert len(controls) >= n_least
        assert [one for one in controls if '"' not in one] == []


@contextmanager
def served(folder):
    source = Source(folder, None, 256)

    def render_page():
        return render(folder.name, source.run(), [], is_live=True)

    with open_server(ANY_PORT, render_page, Live(source)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def test_new_items_come_while_the_page_is_open(opened, tmp_path):
    early = {f"Bird_{index:06d}": {} for index in range(0, 60, 2)}
    folder = write_items(tmp_path / "run", early)
    with served(folder) as url:
        page = opened(url=url)
        until(page, "view.items.length === 30")
        press(page, "End", "ArrowLeft", "a")
        until(page, "scrollY > 100")
        was = current(page)
        place = tile(page, was).bounding_box()["y"]
        write_items(folder, {f"Bird_{index:06d}": {} for index in range(1, 40, 2)})
        page.evaluate("ask()")
        assert len(names(page)) == 50
        assert current(page) == was
        assert marks_of(page) == {"Bird_000056": "accepted"}
        assert tile(page, was).bounding_box()["y"] == pytest.approx(place, abs=1)
        (folder / "images/Bird_000056.png").unlink()
        page.evaluate("ask()")
        page.wait_for_selector('li[data-name="Bird_000056"] .fault')
        until(page, "document.querySelector('#live').innerText === 'live'")
    until(page, "document.querySelector('#live').innerText.includes('ended')")
