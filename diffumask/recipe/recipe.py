"""How items are made, opened once: the choices of a run, checked together and bound together."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError
from diffumask.masks import source_name
from diffumask.masks.settings import MaskSettings

from .choice import AUTO, NONE, Choice, Loaded
from .heat import ADAPTIVE, SELF_ATTENTION, Affinity, Refiner, Threshold
from .lora import Lora
from .preset import Preset
from .source import Source

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.calibration.setting import Setting
    from diffumask.models import ModelSpec

ATTENTION, AFFINITY = "attention", "affinity"


@dataclass(frozen=True)
class Recipe:
    """The choices of a run; `heat` is auto, attention or affinity: which heat has the threshold.

    What a choice leaves open is the preset's, then the default.
    Raises InputError for choices that do not go together.
    """

    threshold: Threshold = field(default_factory=Threshold)
    refiner: Refiner = field(default_factory=Refiner)
    affinity: Affinity = field(default_factory=Affinity)
    source: Source = field(default_factory=Source)
    lora: Lora = field(default_factory=Lora)
    preset: Preset = field(default_factory=Preset)
    heat: str = AUTO
    uncertain_band: float | None = None
    least_presence: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold.name), ("heat", self.heat)):
            if not self.source.parsed.takes_heat and value != AUTO:
                raise InputError(
                    f"expected {name} auto with masks from {self.source.name}, which takes no heat"
                    f" map, got {value!r}"
                )
        if self.heat not in (AUTO, ATTENTION, AFFINITY):
            raise InputError(f"expected heat {ATTENTION} or {AFFINITY}, got {self.heat!r}")
        if self.preset.settings is not None:
            self._check_with_preset()
        if self.threshold.calibration is not None:
            self._check_calibrated(self.threshold.calibration.setting)
        _ = self.settings

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices one by one."""
        return self.source, self.threshold, self.refiner, self.affinity, self.lora, self.preset

    @cached_property
    def settings(self) -> MaskSettings:
        """How heat becomes masks, as far as that is known before a model is loaded."""
        changes: dict[str, Any] = self.preset.masks
        heat, threshold = self._threshold_heat, self.threshold.method
        if heat is not None:
            changes["heat"] = heat
        if self.source.name == source_name.SEGMENTATOR:
            changes["refiner"] = NONE  # its borders are sharp already
        if self.refiner.name != AUTO:
            changes["refiner"] = self.refiner.name
        if self.uncertain_band is not None:
            changes["uncertain_band"] = self.uncertain_band
        if self.least_presence is not None:
            changes["least_presence"] = self.least_presence
        if threshold is not None:
            changes["threshold"] = threshold
        if self.threshold.calibration is None:
            return MaskSettings(**changes)
        return replace(self.threshold.calibration.setting.masks, **changes)

    @property
    def sampling(self) -> dict[str, Any]:
        """What sampling has to give: affinity, presences, heat as was calibrated or is preset."""
        wanted: dict[str, Any] = {
            **self.preset.sampling,
            "affinity": self.affinity.name == SELF_ATTENTION,
            "presence": self.settings.least_presence > 0,
        }
        calibration = self.threshold.calibration
        return wanted | ({} if calibration is None else calibration.setting.heat_made)

    def check(self, class_names: Sequence[str]) -> None:
        """Raise InputError for a choice that is not for these classes, whatever the model."""
        for choice in self.choices:
            choice.check(class_names)

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        """Raise InputError for a choice that is not for this model, before that is loaded."""
        for choice in self.choices:
            choice.check_model(spec, checkpoint)

    @contextmanager
    def bind(self, loaded: Loaded) -> Iterator[MaskSettings]:
        """Let a model be and be read as chosen until the context ends; gives the settings."""
        settings = self.settings
        with ExitStack() as bound:
            for choice in self.choices:
                settings = bound.enter_context(choice.bind(settings, loaded))
            yield settings

    def describe(self) -> dict[str, Any]:
        """Return what masks depend on, for run.json."""
        settings = self.settings
        return {
            **self.source.describe(),
            "threshold": settings.threshold.describe(),
            "refiner": settings.refiner,
            **self.affinity.describe(),
            "heat": settings.heat,
            "uncertain_band": settings.uncertain_band,
            "min_area": settings.min_area,
            "least_warmth": settings.least_warmth,
            "least_presence": settings.least_presence,
            **self.preset.describe(),
        }

    def _check_with_preset(self) -> None:
        """Raise InputError for choices that say how masks are made as a preset does."""
        taken = {
            "masks from attention": None if self.source.parsed.takes_heat else self.source.name,
            "no calibrated thresholds": self.threshold.file,
        }
        for wanted, got in taken.items():
            if got is not None:
                raise InputError(
                    f"expected {wanted} beside the preset {self.preset.name}, got {got}; leave one "
                    "of the two out"
                )

    @property
    def _threshold_heat(self) -> str | None:
        """Which heat has the threshold; None for the default, or that of calibrated thresholds."""
        if self.heat != AUTO:
            return self.heat
        if self.threshold.calibration is not None:
            return None
        # adaptive compares with what the affinity shows
        is_plain = self.affinity.name == NONE or self.threshold.name == ADAPTIVE
        return ATTENTION if is_plain else None

    def _check_calibrated(self, setting: "Setting") -> None:
        """Raise InputError where masks would be made otherwise than thresholds were fitted for."""
        wanted: dict[str, tuple[Any, Any]] = {
            "masks from": (source_name.ATTENTION, self.source.name),
            "heat": (setting.heat, self.heat),
            "the refiner": (setting.refiner, self.refiner.name),
            "an uncertain band of": (setting.uncertain_band, self.uncertain_band),
        }
        if setting.heat == AFFINITY:
            wanted["the affinity"] = (SELF_ATTENTION, self.affinity.name)
        for name, (fitted, chosen) in wanted.items():
            if chosen not in (AUTO, None, fitted):
                raise InputError(
                    f"expected {name} {fitted}, with which {self.threshold.name} was made, got "
                    f"{chosen!r}; leave it out, or calibrate anew"
                )
