"""Sources of masks that see an object where they are asked for it: by its name, or by a box.

References beside attention and the Segmentator; their checkpoints are the user's own.
"""

from collections.abc import Callable

from diffumask.errors import InputError
from diffumask.masks.source_name import PROMPTED, parse_source
from diffumask.masks.sources import MaskSource, Source

from .clipseg import clipseg_source
from .sam import sam_source
from .sam3 import sam3_source

# Of the folder, or for CLIPSeg a hub id, and the device; by the kinds of `source_name.PROMPTED`.
MAKERS: dict[str, Callable[[str, str], Source]] = {
    "clipseg": clipseg_source,
    "sam": lambda folder, device: sam_source("sam", folder, device),
    "sam2": lambda folder, device: sam_source("sam2", folder, device),
    "sam3": sam3_source,
}


def find_prompted(name: str, device: str = "auto") -> MaskSource:
    """Make the source of a name: "sam:FOLDER" alone, "attention+sam:FOLDER" fused with attention.

    Raises InputError for a name that is none, and for a folder without such a model.
    """
    named = parse_source(name)
    if not named.is_prompted:
        kinds = ", ".join(f"{one}:FOLDER" for one in PROMPTED)
        raise InputError(f"expected a network that is asked for objects, {kinds}, got {name!r}")
    return MaskSource(MAKERS[named.kind](named.model, device), named.fused)
