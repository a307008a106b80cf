"""How masks are made: the options that `generate` and `remask` share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import values
from .option import MASKS, Option, Options, StrPath

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class MaskOptions(Options):
    """The options of masks, as given; `open_recipe` checks them."""

    PANEL = MASKS

    preset: Annotated[
        str,
        Option(
            "How masks are made where the other options leave it open: none, sd15 or sd21 "
            "(published), or a file of doctor (.toml).",
            values=values.PRESETS,
        ),
    ] = "none"
    threshold: Annotated[
        str | float,
        Option(
            "auto, otsu, adaptive, a number in [0, 1), or a file of calibrate (.json).",
            values=values.THRESHOLDS,
        ),
    ] = "auto"
    refiner: Annotated[
        str,
        Option(
            "auto, none, crf, crf-wide, guided, pamr, sam:FOLDER, sam2:FOLDER, sam3:FOLDER.",
            values=values.REFINERS,
        ),
    ] = "auto"
    affinity: Annotated[
        str,
        Option("none, self-attention or a folder of affinity train.", values=values.AFFINITIES),
    ] = "self-attention"
    heat: Annotated[
        str,
        Option(
            "Which heat has the threshold: attention, or affinity after propagation.",
            values=values.HEATS,
        ),
    ] = "auto"
    uncertain_band: Annotated[
        float | None,
        Option(
            "Heat by which a threshold may be off; 0 labels all.", default="the preset's, or 0.02"
        ),
    ] = None
    least_presence: Annotated[
        float | None,
        Option(
            "How much of the picture an object must explain to have a mask: 0.49 empties those of "
            "wrong words; 0 asks nothing.",
            default="the preset's, or 0",
        ),
    ] = None
    mask_source: Annotated[
        str,
        Option(
            "attention, segmentator, both (fused), clipseg:FOLDER, sam:FOLDER, sam2:FOLDER, "
            "sam3:FOLDER.",
            values=values.MASK_SOURCES,
        ),
    ] = "attention"
    segmentator: Annotated[
        StrPath | None, Option("Head of segmentator train (.safetensors).", default="none")
    ] = None

    def open_recipe(self, **more: Any) -> "Recipe":
        """Open the choices, and check them against each other; `more` are other ones.

        Raises InputError for what they cannot be, before a model is loaded.
        """
        from diffumask.recipe.heat import Affinity, Refiner, Threshold
        from diffumask.recipe.preset import Preset
        from diffumask.recipe.recipe import Recipe
        from diffumask.recipe.source import Source

        head = None if self.segmentator is None else Path(self.segmentator)
        choices: dict[str, Any] = {
            "threshold": Threshold(str(self.threshold)),
            "refiner": Refiner(self.refiner),
            "affinity": Affinity(self.affinity),
            "source": Source(self.mask_source, head),
            "heat": self.heat,
            "uncertain_band": self.uncertain_band,
            "least_presence": self.least_presence,
            "preset": Preset(self.preset),
        }
        return Recipe(**choices | more)
