"""The choice of a preset: how attention is read and becomes masks, as was best for a checkpoint."""

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.errors import InputError

from .choice import NONE, Choice
from .preset_file import PresetFile, PresetSettings, parse_preset, read_preset

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.models import ModelSpec


def shipped_presets() -> list[str]:
    """List the published presets in the package."""
    folder = files("diffumask.recipe").joinpath("presets")
    return sorted(Path(entry.name).stem for entry in folder.iterdir())


def open_preset(name: str) -> PresetFile | None:
    """Read a preset: none, one of the package by its name, or a file.

    Raises InputError for anything else.
    """
    if name == NONE:
        return None
    if name in shipped_presets():
        shipped = files("diffumask.recipe").joinpath(f"presets/{name}.toml")
        return parse_preset(shipped.read_bytes(), name)
    if not name.endswith(".toml"):
        names = ", ".join([NONE, *shipped_presets()])
        raise InputError(f"expected a preset {names} or FILE.toml, got {name!r}")
    return read_preset(Path(name))


@dataclass(frozen=True)
class Preset(Choice):
    """Settings for where the options leave them open; other options stand above them."""

    name: str = NONE

    @cached_property
    def content(self) -> PresetFile | None:
        """What it holds, read. Raises InputError for what is no preset."""
        return open_preset(self.name)

    @property
    def settings(self) -> PresetSettings | None:
        """What it settles; None without one."""
        return None if self.content is None else self.content.settings

    @property
    def masks(self) -> dict[str, Any]:
        """The part that concerns masks, by the fields of `MaskSettings`."""
        chosen = self.settings
        return {} if chosen is None else chosen.masks

    @property
    def sampling(self) -> dict[str, Any]:
        """The part that concerns sampling, by the fields of `SampleSettings`."""
        chosen = self.settings
        if chosen is None:
            return {}
        steps = chosen.num_inference_steps
        return chosen.heat_made | ({} if steps is None else {"num_inference_steps": steps})

    def check_model(self, spec: "ModelSpec", checkpoint: str) -> None:
        if self.content is None:
            return
        self.check_checkpoint(spec.name, checkpoint)
        if self.content.text_width is not None:
            from diffumask.models import text_width

            width = text_width(spec)
            if width != self.content.text_width:
                raise InputError(
                    f"expected a model that attends to text {self.content.text_width} wide, as "
                    f"the preset {self.name} is for, got {spec.name!r} with {width}; leave the "
                    "preset out, or make one with diffumask doctor"
                )

    def check_checkpoint(self, model: str, checkpoint: str) -> None:
        """Raise InputError unless the preset was measured with this checkpoint, or published."""
        content = self.content
        if content is not None and content.checkpoint not in (None, checkpoint):
            raise InputError(
                f"expected a preset of the model {model!r} ({checkpoint}), got that of "
                f"{content.model!r} ({content.checkpoint}); make one with diffumask doctor"
            )

    def describe(self) -> dict[str, Any]:
        return {} if self.content is None else {"preset": self.content.digest}
