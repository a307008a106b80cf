"""The choices of a run, each opened once: it checks itself, is bound to a model, and is described.

A choice that is left out is one as well: no LoRA, masks from attention. Nothing heavy is loaded
before `check_model`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks import source_name
from diffumask.masks.class_map import MaskSettings
from diffumask.masks.refine import MODEL_REFINERS, REFINERS
from diffumask.masks.sources import MaskSource
from diffumask.masks.thresholds import Adaptive, Calibrated, Fixed, Otsu, ThresholdMethod

if TYPE_CHECKING:  # torch takes seconds to import
    from diffusers import AutoencoderKL, DiffusionPipeline

    from diffumask.calibration.file import Thresholds
    from diffumask.lora.file import LoraFile
    from diffumask.models import ModelSpec

AUTO, NONE, SELF_ATTENTION, ADAPTIVE = "auto", "none", "self-attention", "adaptive"
THRESHOLDS: dict[str, Callable[[], ThresholdMethod]] = {"otsu": Otsu, ADAPTIVE: Adaptive}
Bound = AbstractContextManager[MaskSettings]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What choices are bound to: a device, and a model's pipeline or as much of it as is needed."""

    device: str
    spec: "ModelSpec | None" = None
    vae: "AutoencoderKL | None" = None
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


@dataclass(frozen=True)
class Threshold(Choice):
    """How heat is cut: auto, otsu, adaptive, a number in [0, 1), or a file of `calibrate`."""

    name: str = AUTO

    def __post_init__(self) -> None:
        if self.name not in (AUTO, *THRESHOLDS) and self.file is None:
            number = _number(self.name)
            if not 0 <= number < 1:
                raise InputError(
                    "expected a threshold auto, otsu, adaptive, a number in [0, 1) or the .json "
                    f"file of diffumask calibrate, got {self.name!r}"
                )

    @property
    def file(self) -> Path | None:
        """The file of calibrated thresholds, if it is one."""
        return Path(self.name) if self.name.endswith(".json") else None

    @cached_property
    def calibration(self) -> "Thresholds | None":
        """What the file holds."""
        from diffumask.calibration.file import read_thresholds

        return None if self.file is None else read_thresholds(self.file)

    @property
    def method(self) -> ThresholdMethod | None:
        """What finds the threshold; None for the default."""
        if self.calibration is not None:
            return Calibrated(self.calibration.of, f"calibrated {_digest(Path(self.name))}")
        if self.name in THRESHOLDS:
            return THRESHOLDS[self.name]()
        return None if self.name == AUTO else Fixed(_number(self.name))

    def check(self, class_names: Sequence[str]) -> None:
        for name in class_names:
            if self.calibration is not None:
                self.calibration.of(name)

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.calibration is not None:
            self.calibration.check_model(spec.name, checkpoint)


@dataclass(frozen=True)
class Affinity(Choice):
    """What propagates heat: nothing, self-attention while sampling, or a folder of a network."""

    name: str = SELF_ATTENTION

    def __post_init__(self) -> None:
        if self.name not in (NONE, SELF_ATTENTION) and not Path(self.name).is_dir():
            raise InputError(
                f"expected an affinity {NONE}, {SELF_ATTENTION} or a folder of diffumask affinity "
                f"train, got {self.name!r}"
            )

    @property
    def is_network(self) -> bool:
        """Whether a network propagates heat."""
        return self.name not in (NONE, SELF_ATTENTION)

    @cached_property
    def network(self) -> Any:
        """The network, loaded."""
        from diffumask.affinity_net import load

        return load(Path(self.name))

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.is_network:
            _ = self.network

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        if not self.is_network:
            return nullcontext(settings)
        from diffumask.affinity_net import affinity_heat

        return nullcontext(replace(settings, affinity_of=partial(affinity_heat, self.network)))

    def describe(self) -> dict[str, Any]:
        if not self.is_network:
            return {"affinity": self.name}
        return {"affinity": f"net {_digest(*sorted(Path(self.name).glob('*.safetensors')))}"}


@dataclass(frozen=True)
class Refiner(Choice):
    """What draws the border of masks by the image."""

    name: str = AUTO

    def __post_init__(self) -> None:
        kind, _, folder = self.name.partition(":")
        is_model = kind in MODEL_REFINERS and bool(folder)
        if self.name != AUTO and self.name not in REFINERS and not is_model:
            names = ", ".join([AUTO, *REFINERS, *(f"{kind}:FOLDER" for kind in MODEL_REFINERS)])
            raise InputError(f"expected a refiner {names}; got {self.name!r}")


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
        if self.head is not None:
            from diffumask.segmentator.file import read_facts
            from diffumask.segmentator.source import check_classes

            check_classes(read_facts(self.head).labels, class_names, self.parsed.fused)

    def check_model(self, spec: "ModelSpec", checkpoint: str = "") -> None:
        if self.head is not None:
            from diffumask.models import vae_fingerprint
            from diffumask.segmentator.file import check_fingerprint, read_facts

            check_fingerprint(self.head, read_facts(self.head), vae_fingerprint(spec))

    def bind(self, settings: MaskSettings, loaded: Loaded) -> Bound:
        return nullcontext(replace(settings, source=self._open(loaded), device=loaded.device))

    def _open(self, loaded: Loaded) -> MaskSource | None:
        if self.parsed.is_prompted:
            from diffumask.masks.prompted import find_prompted

            return find_prompted(self.name, loaded.device)
        if self.head is None:
            return None
        from diffumask.models import vae_fingerprint
        from diffumask.segmentator.file import load
        from diffumask.segmentator.source import SegmentatorSource

        assert loaded.spec is not None
        assert loaded.vae is not None
        head = load(self.head, loaded.vae, vae_fingerprint(loaded.spec))
        return MaskSource(SegmentatorSource(head, loaded.vae), fused=self.parsed.fused)

    def describe(self) -> dict[str, Any]:
        if self.head is None:
            return {"mask_source": self.name, "segmentator": None}
        from diffumask.segmentator.file import fingerprint_file

        return {"mask_source": self.name, "segmentator": fingerprint_file(self.head)}


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
        from diffumask.lora.file import read_lora

        return None if self.file is None else read_lora(self.file)

    def check(self, class_names: Sequence[str]) -> None:
        _ = self.weights

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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
