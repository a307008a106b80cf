"""What every choice of a run can do: check itself, be bound to a model, and describe itself.

A choice that is left out is one as well: no LoRA, masks from attention. Nothing heavy is loaded
before `check_model`.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks.settings import MaskSettings

if TYPE_CHECKING:  # torch takes seconds to import
    from diffusers import DiffusionPipeline

    from diffumask.models import ModelSpec
    from diffumask.segmentator.features import Autoencoder

AUTO, NONE = "auto", "none"
Bound = AbstractContextManager[MaskSettings]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What choices are bound to: a device, and a model's pipeline or as much of it as is needed."""

    device: str
    spec: "ModelSpec | None" = None
    vae: "Autoencoder | None" = None
    pipe: "DiffusionPipeline | None" = None


class Choice:
    """One choice of a run."""

    def check(self, class_names: Sequence[str]) -> None:
        """Raise InputError for what is wrong with it for these classes, whatever the model."""

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        """Raise InputError for a model, not yet loaded, that it is not for."""

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        """Return a context in which the model is as chosen, and that gives the settings for it."""
        return nullcontext(settings)

    def describe(self) -> dict[str, Any]:
        """Return what items depend on, for run.json."""
        return {}


def check_model_folder(name: str, folder: str) -> None:
    """Raise InputError for what cannot be the folder of a model of transformers, or its hub id."""
    from diffumask.models import HUB_ID

    if not (Path(folder) / "config.json").is_file() and not HUB_ID.fullmatch(folder):
        raise InputError(f"expected a model's folder with config.json in {name!r}, got {folder!r}")


def digest(*paths: Path) -> str:
    """Return 8 hex digits of the content of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
