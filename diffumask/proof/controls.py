"""Masks without the text: what a mask must beat before attention can be said to have earned it.

A control heat takes the place of attention and goes the same way, along the same self-attention and
through the same threshold and refiner. It knows the picture or nothing, and competes with no word.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from diffumask.articles import with_article
from diffumask.types import GridHeat, Image, Mask, Prompt, Sample, word_pattern

SIGMA = 1 / 4  # of the centre, in shares of each side
GRABCUT_MARGIN = 1 / 8  # of each side, certain ground
GRABCUT_ROUNDS = 5
WRONG_WORD, GRABCUT = "wrong word", "GrabCut from the middle"


def centre_gaussian(size_hw: tuple[int, int]) -> GridHeat:
    """Return a fixed Gaussian in the middle, with a peak of at most 1."""
    y, x = (np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * SIGMA**2)) for n in size_hw)
    return np.outer(y, x).astype(np.float32)


def border_contrast(image: Image, size_hw: tuple[int, int]) -> GridHeat:
    """Return the distance in Lab from the mean colour of the border, by cell, with a peak of 1.

    A picture of one colour gives zeros.
    """
    cells = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor((cells / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    border = np.concatenate([lab[0], lab[-1], lab[1:-1, 0], lab[1:-1, -1]])
    distance = np.linalg.norm(lab - border.mean(0), axis=2)
    return (distance / max(distance.max(), 1.0)).astype(np.float32)


# Heat of a grid by name, from the picture alone.
HEATS: Mapping[str, Callable[[Image, tuple[int, int]], GridHeat]] = {
    "centre Gaussian": lambda _, size_hw: centre_gaussian(size_hw),
    "border contrast": border_contrast,
}

CONTROLS = (*HEATS, WRONG_WORD, GRABCUT)


def with_heat(sample: Sample, heat: GridHeat, spread: Callable[[GridHeat], GridHeat]) -> Sample:
    """Return the sample with this heat for each target, no rival, and nothing said of presence.

    `spread` propagates as the sample's own heat was: along its matrix of self-attention.
    """
    words = [target.word for target in sample.prompt.targets]
    heats, affinities = dict.fromkeys(words, heat), dict.fromkeys(words, spread(heat))
    return replace(sample, heats=heats, affinities=affinities, objects=None, presences={})


def grabcut(image: Image) -> Mask:
    """Return what GrabCut takes for the object in the middle of the image (Rother et al. 2004).

    Sides of at least 8 pixels.
    """
    h, w = image.shape[:2]
    top, left = round(GRABCUT_MARGIN * h), round(GRABCUT_MARGIN * w)
    labels = np.zeros((h, w), np.uint8)
    box_xywh = (left, top, w - 2 * left, h - 2 * top)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # its clusters start at random
    cv2.grabCut(image, labels, box_xywh, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def with_wrong_word(prompt: Prompt, wrong: str) -> Prompt:
    """Return the prompt that asks for another class where it named that of its first target.

    The sub-class goes with the word, and the article follows; the id stays, so that the mask is
    judged in the same place. Raises ValueError for a word that the prompt has already.
    """
    if word_pattern(wrong).search(prompt.text):
        raise ValueError(f"expected a word that is not in the prompt, got {wrong!r}")
    first, *others = prompt.targets
    phrase = f"{prompt.sub_class} {first.word}".strip()
    text = prompt.text
    for old in (phrase, first.word):
        text = re.sub(
            rf"(\ban?\s+)?{word_pattern(old).pattern}",
            lambda found: with_article(wrong) if found[1] else wrong,
            text,
            flags=re.IGNORECASE,
        )
    target = replace(first, word=wrong, class_name=wrong)
    return replace(prompt, text=text, targets=(target, *others), sub_class="")
