"""The choice of a LoRA."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks.settings import MaskSettings

from .choice import Bound, Choice, Loaded

if TYPE_CHECKING:
    from diffumask.lora.file import LoraFile
    from diffumask.models import ModelSpec


@dataclass(frozen=True)
class Lora(Choice):
    """A LoRA that a pipeline draws with, and how much of it: 0 is none."""

    file: Path | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InputError(f"expected a finite scale of the LoRA, got {self.scale}")

    @cached_property
    def weights(self) -> "LoraFile | None":
        """The file, read."""
        if self.file is None:
            return None
        from diffumask.lora.file import read_lora

        return read_lora(self.file)

    def check(self, class_names: Sequence[str]) -> None:
        _ = self.weights

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.weights is not None:
            from diffumask.lora.file import require_peft

            require_peft()

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        return nullcontext(settings) if self.weights is None else self._applied(settings, loaded)

    @contextmanager
    def _applied(self, settings: MaskSettings, loaded: Loaded) -> Iterator[MaskSettings]:
        from diffumask.lora.apply import lora_applied

        assert self.weights is not None
        assert loaded.pipe is not None
        with lora_applied(loaded.pipe, self.weights, self.scale):
            yield settings

    def describe(self) -> dict[str, Any]:
        if self.weights is None:
            return {}
        return {"lora": self.weights.fingerprint, "lora_scale": self.scale}
