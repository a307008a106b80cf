"""Sources of masks that see an object where they are asked for it: by its name, or by a box.

References beside attention and the Segmentator; their checkpoints are the user's own.
"""

from collections.abc import Callable

from diffumask.errors import InputError
from diffumask.prompted.clipseg import clipseg_source
from diffumask.prompted.sam import sam_source
from diffumask.sources import MaskSource, Source

FUSED = "attention+"
# What follows the colon is a folder, or for CLIPSeg a hub id; then the device.
PROMPTED: dict[str, Callable[[str, str], Source]] = {
    "clipseg": clipseg_source,
    "sam": lambda folder, device: sam_source("sam", folder, device),
    "sam2": lambda folder, device: sam_source("sam2", folder, device),
}


def find_prompted(name: str, device: str = "auto") -> MaskSource:
    """Make the source of a name: "sam:FOLDER" alone, "attention+sam:FOLDER" fused with attention.

    Raises InputError for a name that is none, and for a folder without such a model.
    """
    kind, _, model = name.removeprefix(FUSED).partition(":")
    if kind not in PROMPTED or not model:
        kinds = ", ".join(f"{one}:FOLDER" for one in PROMPTED)
        raise InputError(f"expected a source of masks {kinds}, got {name!r}")
    return MaskSource(PROMPTED[kind](model, device), fused=name.startswith(FUSED))
