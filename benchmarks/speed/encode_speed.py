"""What do a level of PNG, another encoder and WebP cost, and what do they save? Time and bytes.

Photographs stand for generated images: at 512 px they are laid side by side until they fill the
image, as those at hand are small, which leaves them sharper than a picture of that size is; and
one of them is enlarged to it, which leaves it smoother. What a model draws lies between. Scenes
are what `tiny` draws. Times are CPU seconds, medians over the images, each the best of the rounds.
"""

import io
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from benchmarks.report import Report, table, tell
from diffumask.dataset.encode import encode_class_map, encode_image
from diffumask.files.pictures import PHOTOGRAPHS, opened
from diffumask.scenes import render_scene
from diffumask.types import Image

SIDE_PX, SCENE_PX = 512, 128
Encode = Callable[[Image], bytes]


def with_pillow(**options: Any) -> Encode:
    """Return an encoder of Pillow."""

    def encode(image: Image) -> bytes:
        content = io.BytesIO()
        PillowImage.fromarray(image).save(content, **options)
        return content.getvalue()

    return encode


def with_opencv(suffix: str, *options: int) -> Encode:
    """Return an encoder of OpenCV."""

    def encode(image: Image) -> bytes:
        _, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        return content.tobytes()

    return encode


def encoders() -> dict[str, Encode]:
    """Return what is compared, by name."""
    level, strategy, chosen = (
        cv2.IMWRITE_PNG_COMPRESSION,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_FILTER,
    )
    found: dict[str, Encode] = {"as `generate` writes": encode_image}
    for number in range(1, 10):
        found[f"Pillow, PNG {number}"] = with_pillow(format="PNG", compress_level=number)
    for number in (1, 3, 6):
        found[f"OpenCV, PNG {number}"] = with_opencv(".png", level, number)
    for name in ("HUFFMAN_ONLY", "RLE"):
        kind = getattr(cv2, f"IMWRITE_PNG_STRATEGY_{name}")
        found[f"OpenCV, PNG 1, {name.lower()}"] = with_opencv(".png", level, 1, strategy, kind)
    for name in ("SUB", "UP", "PAETH"):
        kind = getattr(cv2, f"IMWRITE_PNG_FILTER_{name}")
        key = f"OpenCV, PNG 1, rle, filter {name.lower()}"
        rle = cv2.IMWRITE_PNG_STRATEGY_RLE
        found[key] = with_opencv(".png", level, 1, strategy, rle, chosen, kind)
    for method in (0, 2, 4):
        options = {"lossless": True, "quality": 0, "method": method}
        found[f"Pillow, WebP lossless, method {method}"] = with_pillow(format="WEBP", **options)
    return found


def photographs(folder: Path, n: int) -> Iterator[Image]:
    """Read every so many photographs of a folder."""
    paths = sorted(folder.rglob("*.jpg"))
    for path in paths[:: max(1, len(paths) // n)][:n]:
        with opened(path.read_bytes(), PHOTOGRAPHS, "choose another folder", str(path)) as picture:
            yield np.asarray(picture.convert("RGB"))


def mosaic(some: list[Image]) -> Image:
    """Lay images side by side, row below row, in a square of SIDE_PX."""
    canvas = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    left = iter(some * (SIDE_PX**2 // some[0].size + 4))
    y = 0
    while y < SIDE_PX:
        x, row = 0, SIDE_PX
        while x < SIDE_PX:
            tile = next(left)[: SIDE_PX - y, : SIDE_PX - x]
            canvas[y : y + len(tile), x : x + tile.shape[1]] = tile
            x, row = x + tile.shape[1], min(row, len(tile))
        y += row
    return canvas


def kinds(data: Path | None, n: int) -> dict[str, list[Image]]:
    """Return the images, by what they show."""
    size_hw = (SCENE_PX, SCENE_PX)
    found = {
        f"scenes of {SCENE_PX} px": [render_scene(i, size_hw, split="test").image for i in range(n)]
    }
    if data is not None:
        some = list(photographs(data, 12 * n))
        found[f"photographs side by side, {SIDE_PX} px"] = [mosaic(some[i::n]) for i in range(n)]
        size = (SIDE_PX, SIDE_PX)
        found[f"photographs enlarged to {SIDE_PX} px"] = [
            cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in some[:n]
        ]
    return found


def measure(images: list[Image], rounds: int) -> Mapping[str, tuple[float, float]]:
    """Return for each encoder the CPU seconds of an image, and its bytes a pixel."""
    best: dict[str, list[float]] = {name: [np.inf] * len(images) for name in encoders()}
    sizes: dict[str, list[float]] = {name: [0.0] * len(images) for name in best}
    for _ in range(rounds):  # in turn, so that what else runs slows all
        for name, encode in encoders().items():
            for index, image in enumerate(images):
                started = time.process_time()
                content = encode(image)
                best[name][index] = min(best[name][index], time.process_time() - started)
                sizes[name][index] = len(content) / (image.size / 3)
    return {name: (statistics.median(best[name]), statistics.median(sizes[name])) for name in best}


def mask_line(side_px: int) -> str:
    """Tell what the mask of an image takes."""
    class_map = render_scene(0, (side_px, side_px), split="test").objects[0].mask.astype(np.uint8)
    started = time.process_time()
    content = encode_class_map(class_map)
    spent_ms = (time.process_time() - started) * 1e3
    return f"A mask of {side_px} px takes {spent_ms:.1f} ms and {len(content):,} bytes."


def main(
    data: Annotated[Path | None, "folder of photographs (.jpg, below it at any depth)"] = None,
    n: Annotated[int, "images of each kind"] = 6,
    rounds: int = 5,
) -> Report:
    """Measure each kind of images."""
    cv2.setNumThreads(1)
    lines: list[str] = []
    for name, images in kinds(data, n).items():
        found = measure(images, rounds)
        usual_s, usual = found["Pillow, PNG 6"]
        rows = [
            (
                key,
                f"{spent * 1e3:.1f}",
                f"{size:.3f}",
                f"{usual_s / spent:.1f}",
                f"{size / usual:.2f}",
            )
            for key, (spent, size) in found.items()
        ]
        head = ("", "CPU ms", "bytes a pixel", "times as fast", "times as large")
        lines += [f"## {name[0].upper()}{name[1:]}", "", *table(head, rows), ""]
        tell(f"{name} done")
    facts = [
        f"{n} images of each kind, best of {rounds} rounds; the last columns are beside Pillow's",
        f"level 6, its default. {mask_line(SIDE_PX)}",
    ]
    return Report("Encoders of images: time and bytes", facts, lines[:-1])
