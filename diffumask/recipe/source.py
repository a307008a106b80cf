"""The choice of what sees objects."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks import source_name
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import MaskSource

from .choice import Bound, Choice, Loaded, check_model_folder

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.models import ModelSpec
    from diffumask.segmentator import Predictor


@dataclass(frozen=True)
class Source(Choice):
    """What sees objects: attention, a prompted network, a Segmentator, or two of these fused."""

    name: str = source_name.ATTENTION
    head: Path | None = None

    def __post_init__(self) -> None:
        if (self.parsed.kind == source_name.SEGMENTATOR) != (self.head is not None):
            raise InputError(
                "expected the file of a Segmentator with masks from segmentator or both, and with "
                f"these alone, got {self.name} {'with' if self.head else 'without'} a file"
            )

    @property
    def parsed(self) -> source_name.SourceName:
        """What the name says."""
        return source_name.parse_source(self.name)

    def check(self, class_names: Sequence[str]) -> None:
        if self.parsed.is_prompted:
            check_model_folder(self.name, self.parsed.model)
        if self.head is not None:
            from diffumask.segmentator.facts import check_classes, read_facts

            check_classes(read_facts(self.head), class_names, self.parsed.fused)

    def check_model(self, spec: "ModelSpec", checkpoint: str = "") -> None:
        if self.head is not None:
            from diffumask.models import vae_fingerprint
            from diffumask.segmentator.facts import check_fingerprint, read_facts

            check_fingerprint(self.head, read_facts(self.head), vae_fingerprint(spec))

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        return nullcontext(replace(settings, source=self._open(loaded), device=loaded.device))

    def _open(self, loaded: Loaded) -> MaskSource | None:
        if self.parsed.is_prompted:
            from diffumask.masks.prompted import find_prompted

            return find_prompted(self.name, loaded.device)
        if self.head is None:
            return None
        from diffumask.segmentator.source import SegmentatorSource

        predictor = self.predictor(loaded)
        source = SegmentatorSource(predictor.segmentator, predictor.vae)
        return MaskSource(source, fused=self.parsed.fused)

    def predictor(self, loaded: Loaded) -> "Predictor":
        """Return the Segmentator with the VAE that it reads."""
        from diffumask.models import vae_fingerprint
        from diffumask.segmentator import Predictor
        from diffumask.segmentator.file import load

        assert self.head is not None
        assert loaded.spec is not None
        assert loaded.vae is not None
        head = load(self.head, loaded.vae, vae_fingerprint(loaded.spec))
        if loaded.pipe is not None:
            head.head.to(loaded.pipe._execution_device)  # the VAE may wait elsewhere
        return Predictor(head, loaded.vae)

    def describe(self) -> dict[str, Any]:
        if self.head is None:
            return {"mask_source": self.name, "segmentator": None}
        from diffumask.segmentator.facts import fingerprint_file

        return {"mask_source": self.name, "segmentator": fingerprint_file(self.head)}
