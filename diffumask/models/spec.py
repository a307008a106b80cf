"""What is known of a model before it is loaded."""

from dataclasses import dataclass
from pathlib import Path

from .families import UNET, Family


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model comes from, a folder or a hub id, and how to sample it by default.

    `about` and `licence` say what it is; they are empty where that is not known. `revision` is a
    branch, tag or commit of the hub, `variant` the weights of several that a folder holds.
    """

    name: str
    source: Path | str
    height: int
    width: int
    num_inference_steps: int = 30
    guidance_scale: float = 7.5
    about: str = ""
    licence: str = ""
    family: Family = UNET
    revision: str | None = None
    variant: str | None = None
