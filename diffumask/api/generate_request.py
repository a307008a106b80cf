"""What `generate` is asked for: its options, and what is opened of them before any model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.errors import InputError

from .default_folder import default_folder
from .loading_options import LoadingOptions
from .mask_options import MaskOptions
from .model_options import ModelName, SamplingOptions
from .option import MASKS, MODEL, OUTPUT, WHAT, Option, StrPath
from .prompt_options import PromptOptions, vocabulary_for
from .run_options import RunOptions

if TYPE_CHECKING:  # they load numpy
    from diffumask.generation.plan import Item
    from diffumask.prompts.source import PromptSource
    from diffumask.prompts.vocabulary import Vocabulary
    from diffumask.recipe.recipe import Recipe
    from diffumask.types import Prompt


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(PromptOptions, SamplingOptions, MaskOptions, RunOptions, LoadingOptions):
    """The options of `generate`."""

    n: Annotated[int, Option("Images of each class.", least=1, panel=WHAT)] = 100
    out: Annotated[
        StrPath | None,
        Option("Dataset folder.", default="diffumask-out/MODEL/CLASS", panel=OUTPUT),
    ] = None
    model: ModelName = "tiny"
    seed: Annotated[int, Option("Seed of the run.", least=0, panel=WHAT)] = 0
    negative_prompt: Annotated[
        str | None,
        Option("What images should not show.", default="the vocabulary's", panel=WHAT),
    ] = None
    redraw: Annotated[
        int,
        Option(
            "Draw an item whose object has no mask again, at most so often.", least=0, panel=MASKS
        ),
    ] = 0
    keep_maps: Annotated[
        bool, Option("Keep the heat maps, for remask and calibrate.", panel=OUTPUT)
    ] = False
    lora: Annotated[
        StrPath | None,
        Option("LoRA to draw with (.safetensors).", default="none", panel=MODEL),
    ] = None
    lora_scale: Annotated[float, Option("How much of the LoRA: 0 is none.", panel=MODEL)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_guided(self.guidance_scale)
        if self.segmentator is not None and (self.vae_tiling or self.offload == "sequential"):
            what = "tiles" if self.vae_tiling else "layers that are loaded one by one"
            raise InputError(
                f"expected a VAE that decodes whole with a Segmentator, which reads it, got {what};"
                " leave one of the two out"
            )

    def check_guided(self, guidance_scale: float | None) -> None:
        """Raise InputError for a negative prompt where guidance, which alone reads it, is off."""
        if self.negative_prompt and guidance_scale is not None and guidance_scale <= 1:
            raise InputError(
                "expected a guidance scale above 1 with a negative prompt, got "
                f"{guidance_scale:g}, which is without guidance; leave one of the two out"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """What is opened of the options before any model: where, which prompts, by which recipe."""

    options: GenerateOptions
    out: Path
    vocabulary: "Vocabulary"
    source: "PromptSource"
    recipe: "Recipe"

    def items(self, batch_size: int) -> "Iterator[Item]":
        """List the items of the shard."""
        from diffumask.generation.plan import plan

        every = plan(self.source.class_names, self.options.n, self.options.seed)
        return self.options.part.of(every, batch_size)

    def prompt_of(self, item: "Item") -> "Prompt":
        """Return the prompt of an item."""
        return self.source.prompt_of(item.class_name, item.index, item.seed)

    @property
    def negative_prompt(self) -> str:
        """What images should not show: as asked for, else by the vocabulary."""
        asked = self.options.negative_prompt
        return self.vocabulary.negative_prompt if asked is None else asked

    def describe(self, model: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an item depends on, besides the checkpoint and the dtype."""
        return {
            "model": model,
            "vocabulary": self.vocabulary.name,
            "vocabulary_fingerprint": self.vocabulary.fingerprint,
            "seed": self.options.seed,
            **sampling,
            **self.recipe.describe(),
            "keep_maps": self.options.keep_maps,
            **({"redraw": self.options.redraw} if self.options.redraw else {}),
            **self.source.identity,
            **self.recipe.lora.describe(),
            **self.options.describe_loading(),
        }


def open_request(options: GenerateOptions) -> Request:
    """Open what was asked for; a folder knows the ids that it gave to open classes."""
    from diffumask.generation.plan import plan
    from diffumask.recipe.lora import Lora

    lora = None if options.lora is None else Path(options.lora)
    recipe = options.open_recipe(lora=Lora(lora, options.lora_scale))
    vocabulary = vocabulary_for(options.vocabulary, options.model)
    if options.out is None:
        from diffumask.models import model_name

        names = options.open_source(vocabulary, options.device).titles
        out = default_folder(model_name(options.model), names, options.part)
    else:
        out = Path(options.out)
    if options.resume == "never":
        _refuse_items(out)
    known = _known_ids(out)
    source = options.open_source(vocabulary, options.device, known)
    plan([*known, *source.class_names], 1, options.seed)  # refuses classes that share files
    return Request(options, out, vocabulary, source, recipe)


def _refuse_items(out: Path) -> None:
    from diffumask.dataset.listing import read_records

    there = len(read_records(out))
    if there:
        raise InputError(
            f"expected no items in {out} where a run is never resumed, got {there}; choose "
            "another folder"
        )


def _known_ids(out: Path) -> dict[str, int]:
    from diffumask.dataset.run import find_run

    earlier = find_run(out)
    return {} if earlier is None else dict(earlier.classes)
