"""A LoRA from images with captions."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .loading_options import CheckpointOptions
from .model_options import ModelName
from .option import Option, StrPath
from .progress import phase, starting_torch, step_progress
from .result import Result
from .trained_file import check_trained_file, check_unfinished, training_beside
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.lora import LoraSettings
    from diffumask.models import ModelSpec

SIZE = re.compile(r"(\d+)(?:x(\d+))?")
WHAT = "the LoRA"


@dataclass(frozen=True, kw_only=True)
class LoraTrainOptions(CheckpointOptions):
    """The options of `lora_train`."""

    images: Annotated[StrPath, Option("Folder of images.", read=True)]
    out: Annotated[StrPath, Option("The LoRA (.safetensors).")]
    captions: Annotated[
        StrPath | None, Option("Captions (.txt, .csv, .jsonl).", default="metadata.jsonl")
    ] = None
    model: ModelName = "tiny"
    rank: Annotated[int, Option("Rank of the matrices.")] = 16
    text_encoder: Annotated[bool, Option("Adapt the text encoder too.")] = False
    steps: Annotated[int, Option("Training steps.")] = 1000
    batch_size: Annotated[int, Option("Images of a step.")] = 4
    learning_rate: Annotated[float, Option("Highest learning rate.")] = 1e-4
    resolution: Annotated[
        str | None, Option("Pixels: N or HEIGHTxWIDTH.", default="the model's")
    ] = None
    seed: Annotated[int, Option("Seed of the training.", least=0)] = 0
    device: Annotated[str, Option("As for generate.", values=values.DEVICES)] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trained_file(WHAT, [Path(self.out)])
        if self.resolution is not None and not SIZE.fullmatch(self.resolution):
            raise InputError(
                f"expected a resolution such as 512 or 384x512, got {self.resolution!r}"
            )


@use_case(LoraTrainOptions)
def lora_train(options: LoraTrainOptions) -> Result[Path]:
    """Train a LoRA on images with captions.

    With it a model draws what they show. generate takes the file, and so does any program that
    reads LoRAs of diffusers. The same command goes on where an earlier one stopped.

    Returns the file. Raises InputError for what the user can mend, before the training where that
    can be known.
    """
    from diffumask.lora.captioned import read_captioned

    out = Path(options.out)
    captions = None if options.captions is None else Path(options.captions)
    images = read_captioned(Path(options.images), captions)

    from diffumask.lora.file import require_peft
    from diffumask.models import fingerprint

    require_peft()
    spec = options.find_model(options.model)
    settings = _settings(options, spec)
    with starting_torch():
        from diffumask.lora.training import train_lora
        from diffumask.models import load

    check_unfinished(WHAT, [out], options.steps)
    identity = {"model": spec.name, "checkpoint": fingerprint(spec)}
    with phase(f"loading {spec.name}"):
        pipe = load(spec, options.device, "float32")
    training = training_beside(out)
    with phase("encoding images"), step_progress("training") as on_step:
        train_lora(pipe, images, settings, out, training, identity, on_step)
    text = (
        f"trained on {counted(len(images), 'image')}; the LoRA is in {out}, for generate; "
        f"{training} holds its log, and may go"
    )
    return Result(out, text, {"file": out, "images": len(images), "steps": settings.num_steps})


def _settings(options: LoraTrainOptions, spec: "ModelSpec") -> "LoraSettings":
    from diffumask.lora import LoraSettings

    found = SIZE.fullmatch(options.resolution or f"{spec.height}x{spec.width}")
    assert found  # as the options have checked
    return LoraSettings(
        height=int(found[1]),
        width=int(found[2] or found[1]),
        rank=options.rank,
        text_encoder=options.text_encoder,
        num_steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
