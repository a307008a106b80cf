"""The colours of classes: those of mask files, and those that people see."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from diffumask.types import BACKGROUND_ID, IGNORE_ID

Palette = UInt8[np.ndarray, "256 3"]

# Found by search: vivid, far apart in CIEDE2000 and bright enough for a dark page. The first eight
# are also apart to eyes without red, green or blue cones (Machado et al. 2009).
DISPLAY_COLOURS = (
    *("0ff0b4", "ff3c69", "1e96ff", "d2e100", "c30096", "e18700", "5a4bf0", "c31e00"),
    *("e1a5ff", "4b872d", "ff9678", "968700", "e169b4", "2de100", "ffd278", "00a578"),
    *("9678d2", "96b45a", "ff4b00", "c300ff", "96a5ff", "2df0e1", "b4692d", "ff8796"),
)
UNKNOWN_LEVEL, UNCERTAIN_LEVEL = 128, 235  # greys of other ids, and of 255


def voc_palette() -> Palette:
    """Compute the RGB colour of every class id.

    Source: `VOClabelcolormap` of the PASCAL VOC development kit: three bits of the id at a
    time go to red, green and blue, the lowest bits to the highest place.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = ids >> (3 * place + channel) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


def display_palette(class_ids: Iterable[int]) -> Palette:
    """Return an RGB colour for every class id to look at: vivid ones for these, in their order.

    A dataset's are `Run.classes.values()`, so that a class has one colour in all of its pictures,
    whatever they show of it; classes that are added later come after. Ids that repeat count once,
    and those past the 24th class take the colours again. Other ids are grey, 255 ("uncertain") is a
    light grey, and the background is black.
    """
    palette = np.full((256, 3), UNKNOWN_LEVEL, np.uint8)
    vivid = [tuple(bytes.fromhex(colour)) for colour in DISPLAY_COLOURS]
    for place, class_id in enumerate(dict.fromkeys(class_ids)):
        palette[class_id] = vivid[place % len(vivid)]
    palette[BACKGROUND_ID], palette[IGNORE_ID] = 0, UNCERTAIN_LEVEL
    return palette
