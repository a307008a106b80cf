"""Gaussian blur of the image; the labels stay (Wu et al. 2023, section 3.5)."""

from collections.abc import Iterator

import cv2
import numpy as np

from diffumask.dataset.pair import Pair, SizeHW, resized

KERNEL_LENGTHS_PX = (6.0, 22.0)  # the paper's, at 512 px; other sizes in proportion
PAPER_SIDE_PX = 512


def blur(pairs: Iterator[Pair], size_hw: SizeHW, rng: np.random.Generator) -> Pair:
    """Blur the first pair with a kernel of random length, in proportion to the shorter side.

    The deviation follows from the length as OpenCV has it. Kernels have an odd number of pixels,
    3 or more, so that below 128 px short lengths differ in deviation only.
    """
    pair = resized(next(pairs), size_hw)
    scale = min(size_hw) / PAPER_SIDE_PX
    length_px = rng.uniform(*KERNEL_LENGTHS_PX)
    sigma_px = scale * (0.3 * ((length_px - 1) * 0.5 - 1) + 0.8)
    odd = 2 * max(1, round((scale * length_px - 1) / 2)) + 1
    # REPLICATE, as an image of one row or column has nothing to reflect
    image = cv2.GaussianBlur(pair.image, (odd, odd), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return Pair(image, pair.class_map)
