"""Photograph the page of a dataset for the README: on a desk, and on a phone in dark mode.

diffumask generate --class cat --class car --class flower --class sheep --class house --class bird \
    --n 6 --keep-maps --out scenes
python -m benchmarks gallery_picture --data scenes --out docs/gallery.png

It needs playwright (of the dev extra) and Chromium (Debian: chromium).
"""

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from PIL import Image as PillowImage
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.commands import diffumask

HEIGHT_PX = 740
DESK_PX, PHONE_PX, MARGIN_PX = 1260, 370, 24
PAPER = (128, 124, 116)
COLOURS = 256  # a palette keeps the file below 300 KB


def main(data: Annotated[Path, "the dataset"], out: Annotated[Path, "docs/gallery.png"]) -> None:
    """Make the page, look at it in two ways and lay the pictures beside each other."""
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = Path(folder) / "page.html"
        diffumask("show", data, "--out", page_file)
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        desk = open_page(browser, page_file, DESK_PX, "light")
        on_a_desk(desk)
        phone = open_page(browser, page_file, PHONE_PX, "dark")
        on_a_phone(phone)
        pictures = [photograph(desk), photograph(phone)]
        browser.close()
    sheet = beside(pictures)
    sheet = sheet.quantize(palette=sheet.quantize(COLOURS))  # with dither, unlike the inner one
    sheet.save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1000:.0f} KB")


def open_page(browser: Browser, file: Path, width_px: int, scheme: str) -> Page:
    """Open the page in a window of this width, in light or in dark colours."""
    page = browser.new_page(viewport={"width": width_px, "height": HEIGHT_PX})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(file.resolve().as_uri())
    return page


def on_a_desk(page: Page) -> None:
    """Sort by a score, accept the first picture, reject the third, and move the threshold."""
    page.select_option("[name=sort]", "stability")
    page.select_option("[name=order]", "down")
    page.focus(".tile")
    for key in ("a", "ArrowRight", "r"):
        page.keyboard.press(key)
    page.fill("#threshold", "0.45")


def on_a_phone(page: Page) -> None:
    """Open a picture with its heat map."""
    page.locator(".tile").nth(1).click()
    page.keyboard.press("h")


def photograph(page: Page) -> PillowImage.Image:
    """Take the window once all is painted."""
    page.wait_for_timeout(1000)
    return PillowImage.open(io.BytesIO(page.screenshot())).convert("RGB")


def beside(pictures: list[PillowImage.Image]) -> PillowImage.Image:
    """Lay pictures of one height in a row."""
    width = sum(one.width for one in pictures) + MARGIN_PX * (len(pictures) + 1)
    sheet = PillowImage.new("RGB", (width, HEIGHT_PX + 2 * MARGIN_PX), PAPER)
    left = MARGIN_PX
    for one in pictures:
        sheet.paste(one, (left, MARGIN_PX))
        left += one.width + MARGIN_PX
    return sheet
