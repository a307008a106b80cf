"""A model, opened as a recipe says: what makes items, here or on a worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from diffusers import DiffusionPipeline

from diffumask.models import Loading, ModelSpec, load
from diffumask.recipe.choice import Loaded
from diffumask.recipe.recipe import Recipe

from .masking import GenerateSettings


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be made with; model, LoRA and networks are read from their paths."""

    spec: ModelSpec
    checkpoint: str
    device: str
    dtype: str
    recipe: Recipe
    settings: GenerateSettings
    loading: Loading = field(default_factory=Loading)

    @contextmanager
    def open(self) -> Iterator[tuple[DiffusionPipeline, GenerateSettings]]:
        """Load the model and bind the recipe to it until the context ends."""
        pipe: Any = load(self.spec, self.device, self.dtype, self.loading)
        with self.recipe.bind(Loaded(self.device, self.spec, pipe.vae, pipe)) as masks:
            yield pipe, replace(self.settings, masks=masks)
