"""Which models there are, and which of them are on this machine."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .columns import columns
from .option import Options
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:
    from diffumask.models import ModelSpec

USES = ("generate", "observe", "capture")
HEAD = ("name", "size", "steps", "guidance", "here", "for", "licence", "what")
UNKNOWN = "not known"
MORE = (
    "Any other model of these families works by its folder or hub id; docs/models.md says how each "
    "is read."
)


@dataclass(frozen=True, kw_only=True)
class ModelsOptions(Options):
    """`models` has no options."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model by the name that `generate` takes; sizes in pixels.

    `hub_id` is None for the one in the package, `is_here` tells whether nothing would be
    downloaded. A `licence` of None is not known: read the card of the model.
    """

    name: str
    about: str
    hub_id: str | None
    is_here: bool
    uses: tuple[str, ...]
    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float
    licence: str | None


@use_case(ModelsOptions)
def list_models(options: ModelsOptions) -> Result[list[ListedModel]]:
    """List the models by name, and others on this machine.

    Nothing is downloaded or loaded for it.

    Returns them, those with a name of their own first.
    """
    listed = list(_listed())
    text = "\n".join([*columns(HEAD, map(_cells, listed)), "", MORE])
    return Result(listed, text, {"models": [asdict(one) for one in listed]})


def _listed() -> Iterator[ListedModel]:
    from diffumask.models import MODELS, cached_spec, cached_specs

    for spec in MODELS.values():
        in_package = isinstance(spec.source, Path)
        yield _of(spec, in_package or cached_spec(str(spec.source)) is not None)
    named = {spec.source for spec in MODELS.values()}
    for spec in cached_specs():
        if spec.source not in named:
            yield _of(spec, is_here=True)


def _of(spec: "ModelSpec", is_here: bool) -> ListedModel:
    return ListedModel(
        spec.name,
        spec.about,
        None if isinstance(spec.source, Path) else spec.source,
        is_here,
        USES,
        spec.height,
        spec.width,
        spec.num_inference_steps,
        spec.guidance_scale,
        spec.licence or None,
    )


def _cells(one: ListedModel) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.height}x{one.width}",
        str(one.num_inference_steps),
        f"{one.guidance_scale:g}",
        "yes" if one.is_here else "no",
        ", ".join(one.uses),
        one.licence or UNKNOWN,
        ": ".join(filter(None, (one.about, one.hub_id if one.about else None))),
    )
