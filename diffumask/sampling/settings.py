"""How images are sampled, told without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diffumask.attention.defaults import EVERY_MATRIX, MATRIX_STRIDES, MERGE, POWER
from diffumask.attention.steps import check_strides
from diffumask.errors import InputError

SIZE_STEP = 8  # diffusers refuses other sizes, whatever the factor of the VAE


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """How to sample: sizes in pixels, multiples of 8; a guidance_scale of 1 or less is none.

    `merge` and `weights` are those of `aggregate`, weights of None being `localizing_weights`.
    `affinity` asks for the heat maps propagated along self-attention as well, `power` times, which
    for a network that has no matrix of it, as with linear attention, are the heat maps themselves;
    `matrix_strides` are those of `capture`.
    `presence` asks for how much each target explains of the image, of models that can tell (see
    `presences`).
    """

    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    negative_prompt: str = ""
    merge: str = MERGE
    weights: Mapping[int, float] | None = None
    affinity: bool = True
    presence: bool = False
    power: int = POWER
    matrix_strides: tuple[int, int] = MATRIX_STRIDES

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise InputError(
                f"expected at least 1 num_inference_steps, got {self.num_inference_steps}"
            )
        self.check_sides(SIZE_STEP)
        check_strides(self.matrix_strides)

    def check_sides(self, size_step: int) -> None:
        """Raise `InputError` for sides that are no multiples of so many pixels."""
        for name, size in (("height", self.height), ("width", self.width)):
            if size < size_step or size % size_step:
                near = max(1, round(size / size_step)) * size_step
                raise InputError(
                    f"expected a {name} divisible by {size_step}, got {size}; use {near}"
                )

    def describe(self) -> dict[str, Any]:
        """Return the settings for run.json; what folders of earlier versions have is left out."""
        settings = asdict(self) | {"matrix_strides": list(self.matrix_strides)}
        if self.power == POWER:  # so that folders of earlier versions go on
            del settings["power"]
        if not self.affinity or self.matrix_strides == EVERY_MATRIX:
            del settings["matrix_strides"]
        return settings
