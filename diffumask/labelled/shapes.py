"""Draw what tools describe masks by: polygons, run lengths, and COCO's code for these."""

from typing import Any

import numpy as np

from diffumask import extra
from diffumask.errors import InputError
from diffumask.types import Mask

MAX_SHIFT = 60  # of a number in compressed RLE
MIN_POINTS = 3


def draw_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> Mask | None:
    """Draw what an annotation has as `segmentation`, None for an annotation that is a box alone.

    Raises InputError for a broken shape, and for RLE of another size.
    """
    if segmentation is None or segmentation == []:
        return None
    try:
        if not isinstance(segmentation, dict):
            return draw_polygons(segmentation, size_hw)
        counts, size = segmentation["counts"], segmentation["size"]
        if list(size) != list(size_hw):
            raise InputError(f"expected RLE of the size {list(size_hw)}, got {size}")
        return draw_columns(decode_counts(counts) if isinstance(counts, str) else counts, size_hw)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"expected RLE or polygons, got something else ({error!r})") from error


def draw_polygons(outlines: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw outlines of x, y, x, y, ... in pixels as pycocotools does, the corner being 0, 0.

    What lies outside of the image is moved to its edge. Raises InputError for fewer than three
    points, and ValueError or TypeError for what is no list of numbers.
    """
    height, width = size_hw
    drawn = np.zeros(size_hw, bool)
    for outline in outlines:
        points = np.array(outline, np.float64).reshape(-1, 2)
        if len(points) < MIN_POINTS or not np.isfinite(points).all():
            raise InputError("expected polygons of three finite points or more, got another")
        inside = points.clip(0, [width, height]).ravel().tolist()
        (rle,) = extra.load("pycocotools.mask").frPyObjects([inside], height, width)
        drawn |= draw_columns(decode_counts(rle["counts"].decode()), size_hw)
    return drawn


def draw_columns(counts: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw run lengths column by column, as COCO has them; raises as `draw_runs` does."""
    height, width = size_hw
    return draw_runs(counts, (width, height)).T


def draw_runs(counts: Any, size_hw: tuple[int, int]) -> Mask:
    """Draw run lengths row by row, the first being outside. Raises InputError for another area."""
    height, width = size_hw
    runs = np.asarray(counts, np.int64)
    area_px = height * width
    inside = runs.ndim == 1 and ((runs >= 0) & (runs <= area_px)).all()
    if not inside or runs.sum() != area_px:
        raise InputError(f"expected RLE of {area_px} pixels, got another area")
    filled = np.arange(len(runs)) % 2 == 1
    return np.repeat(filled, runs).reshape(height, width)


def decode_counts(text: str) -> list[int]:
    """Decode the counts of compressed RLE.

    Five bits of a number a character, lowest first, with a bit that says that more follow; from
    the fourth on a number is the difference to the one two before (cocoapi, maskApi.c).
    """
    counts: list[int] = []
    number = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > MAX_SHIFT:
            raise ValueError(f"no RLE: {text[:20]!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            number -= 1 << shift if bits & 16 else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return counts
