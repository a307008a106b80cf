"""How pipelines are called: by which arguments they take guidance, and what else they are told."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffumask.errors import InputError

from .noising import generator_of
from .settings import SampleSettings


@dataclass(frozen=True, slots=True)
class Call:
    """What is special to the pipelines of a family.

    `guidance` is the argument for the guidance scale. `negative` is the negative prompt of guidance
    where the user gives none: None leaves that to the pipeline, and a pipeline that takes none has
    no such argument. `more` is passed on as it is.
    """

    guidance: str = "guidance_scale"
    negative: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Call()
# Sizes are drawn as they are asked for, and captions are read as they are: they are cleaned where
# libraries for it are there, and an item must not depend on that.
UNCHANGED = Call(negative="", more={"use_resolution_binning": False, "clean_caption": False})

CALLS: Mapping[str, Call] = {
    "PixArtAlphaPipeline": UNCHANGED,
    "PixArtSigmaPipeline": UNCHANGED,
    "SanaPipeline": UNCHANGED,
    "KolorsPipeline": Call(negative=""),
    "QwenImagePipeline": Call(guidance="true_cfg_scale", negative=" "),
}


def call_arguments(
    pipe: Any, texts: list[str], seeds: list[int], settings: SampleSettings
) -> dict[str, Any]:
    """Return the arguments of a pipeline for images of some texts, each from a seed of its own.

    Raises InputError for more steps than the scheduler of a distilled model has.
    """
    _check_steps(pipe.scheduler, settings.num_inference_steps)
    call = CALLS.get(type(pipe).__name__, PLAIN)
    taken = inspect.signature(type(pipe).__call__).parameters
    negative = settings.negative_prompt or (call.negative if settings.guidance_scale > 1 else None)
    # None, not "": SDXL then takes the zeros it was trained with
    negatives = None if negative is None else [negative] * len(texts)
    return {
        "prompt": texts,
        "height": settings.height,
        "width": settings.width,
        "num_inference_steps": settings.num_inference_steps,
        call.guidance: settings.guidance_scale,
        "generator": [generator_of(seed) for seed in seeds],
        **({"negative_prompt": negatives} if "negative_prompt" in taken else {}),
        **call.more,
    }


def _check_steps(scheduler: Any, num_inference_steps: int) -> None:
    most = scheduler.config.get("original_inference_steps")  # that a model was distilled from
    if most is not None and num_inference_steps > most:
        kind = type(scheduler).__name__
        raise InputError(f"expected at most {most} steps with {kind}, got {num_inference_steps}")
