"""The report of the filter: its page and its sheet, made without training anything."""

import base64
import io
import itertools
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from gallery_folders import CLASSES, write_items
from PIL import Image as PillowImage

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.encode import encode_class_map
from diffumask.draw import display_palette
from diffumask.draw.layers import HATCH_LEVELS
from diffumask.noise.admission import Outcome
from diffumask.noise.items import summarize_masks
from diffumask.noise.page import write_report
from diffumask.noise.verdicts import Verdict

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ("Bird_000000", "Bird_000001", "Bird_000002")
VERDICTS = (
    Verdict(False, f"iou 0.2, {HOSTILE}", "iou", {"bird": 0.2}),
    Verdict(False, "empty mask", "empty mask"),
    Verdict(True, "iou 0.9", "", {"bird": 0.9}),
)
PALETTE = display_palette(CLASSES.values())


class Page(HTMLParser):
    """The pictures by what they are called, the texts, and the attributes of each tag."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.texts, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.pictures.append((dict(attrs)["alt"], decoded(dict(attrs)["src"])))

    def handle_data(self, data):
        self.texts.append(data.strip())


def decoded(uri):
    with PillowImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return np.array(picture.convert("RGB")).astype(int)


@pytest.fixture
def report(tmp_path):
    """Return what writes a report with that suffix; the network predicts a cat all over."""

    def write(suffix):
        source = Dataset.open(write_items(tmp_path / "birds", {name: {} for name in NAMES}))
        for name in NAMES:
            predicted = encode_class_map(np.full((16, 24), 8, np.uint8))
            (tmp_path / f"{name}.png").write_bytes(predicted)
        outcome = Outcome(summarize_masks(source), dict(zip(NAMES, VERDICTS, strict=True)), "iou")
        path = tmp_path / f"report{suffix}"
        write_report(path, outcome, source, tmp_path, 60)
        return path

    return write


def test_the_page_has_a_legend_in_the_colours_of_its_pictures(report):
    page = Page(report(".html").read_text())
    assert {"bird", "cat", "uncertain"} <= set(page.texts)
    bird, cat, uncertain = (picture for alt, picture in page.pictures if not alt)
    assert (bird == PALETTE[3]).all()
    assert (cat == PALETTE[8]).all()
    assert set(np.unique(uncertain)) == set(HATCH_LEVELS)
    (first, *_) = (picture for alt, picture in page.pictures if alt == "mask")
    assert (np.abs(first - PALETTE[3]).max(axis=2) < 40).sum() > 300  # but for what JPEG loses


def test_each_item_has_its_image_and_mask_and_a_prediction_unless_a_gate_stopped_it(report):
    page = Page(report(".html").read_text())
    alts = [alt for alt, _ in page.pictures if alt]
    assert alts == [
        *("image", "mask", "prediction"),
        *("image", "mask"),
        *("image", "mask", "prediction"),
    ]
    assert {picture.shape for alt, picture in page.pictures if alt} == {(171, 256, 3)}


def test_the_page_shows_reasons_as_text_and_may_load_and_run_nothing(report):
    text = report(".html").read_text()
    page = Page(text)
    assert f"iou 0.2, {HOSTILE}" in page.texts
    policies = [one["content"] for _, one in page.tags if "http-equiv" in one]
    assert "default-src 'none'" in policies[0]
    assert not [tag for tag, found in page.tags if tag == "script" or "style" in found]
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_sheet_has_the_colours_and_leaves_out_the_prediction_of_what_a_gate_stopped(report):
    with PillowImage.open(report(".png")) as picture:
        sheet = np.array(picture)
    assert (sheet == PALETTE[3]).all(axis=2).sum() > 15 * 15 + 3 * 300
    assert (sheet == PALETTE[8]).all(axis=2).sum() == 15 * 15  # a cat all over has no edge
    assert sheet.shape[1] == 2 * 3 * 256 + 3 * 8


def test_the_page_fits_phones_and_desks_in_light_and_dark(report):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed (Debian: {BROWSERS[0]})")
    complaints = []
    with playwright.sync_playwright() as driver:
        # Without a sandbox, because Chromium has none for root; the page is our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(report(".html").as_uri())
        for width, scheme in itertools.product((390, 1280), ("light", "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            table = page.locator("table").bounding_box()
            assert table["x"] + table["width"] <= width
            assert page.locator(".pictures img").first.bounding_box()["width"] > 100
            ink, paper = (brightness(page, name) for name in ("color", "backgroundColor"))
            assert (ink > paper) == (scheme == "dark")
        browser.close()
    assert complaints == []


def brightness(page, name):
    colour = page.evaluate(f"getComputedStyle(document.body).{name}")
    return sum(map(int, re.findall(r"\d+", colour)))
