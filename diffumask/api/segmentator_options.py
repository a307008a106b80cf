"""Which Segmentator is asked: the options that `segmentator_predict` and `_evaluate` share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from . import values
from .loading_options import CheckpointOptions
from .option import Option, StrPath
from .progress import starting_torch

if TYPE_CHECKING:  # it loads torch
    from diffumask.segmentator import Predictor


@dataclass(frozen=True, kw_only=True)
class SegmentatorOptions(CheckpointOptions):
    """A head, and the model whose VAE it reads."""

    segmentator: Annotated[StrPath, Option("Head (.safetensors).", read=True)]
    model: Annotated[
        str | None,
        Option("Whose VAE it reads.", default="that of its training", values=values.models),
    ] = None
    device: Annotated[str, Option("As for generate.", values=values.DEVICES)] = "auto"

    def load_predictor(self) -> "Predictor":
        """Load the VAE and the head. Raises InputError for those that do not fit each other."""
        from diffumask.masks.source_name import SEGMENTATOR
        from diffumask.recipe.choice import Loaded
        from diffumask.recipe.source import Source
        from diffumask.segmentator import read_facts

        source = Source(SEGMENTATOR, Path(self.segmentator))
        facts = read_facts(Path(self.segmentator))
        spec = self.find_model(self.model or facts.model)
        with starting_torch():
            from diffumask.models import load_autoencoder

        source.check_model(spec)
        return source.predictor(Loaded(self.device, spec, load_autoencoder(spec, self.device)))
