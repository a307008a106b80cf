"""What the folder of a diffusers model says of it, read once: its index and configurations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffumask.errors import InputError, reason
from diffumask.files.json_kinds import parse, shown, whole

from .families import UNET_CLASS, Family, family_of, pace, refuse_family, with_guidance

INDEX = "model_index.json"
PART_NAME = re.compile(r"[A-Za-z0-9_]+")  # a folder in that of the model, and none outside of it
LATENT_SIDES, BLOCKS = range(1, 4097), range(1, 9)  # so that no image is beyond any memory
# Parts of a Stable Diffusion folder that are never loaded, and so never downloaded.
UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")


@dataclass(frozen=True)
class Index:
    """Which library and class load each part of a model, and the family it is of.

    What is derived raises `InputError` for a configuration that is not there or does not tell it.
    """

    folder: Path
    entries: Mapping[str, Any]
    family: Family

    def part_class(self, name: str) -> str | None:
        """Return the class of a part of the model, None where it has none."""
        return _parts(self.entries).get(name, (None, None))[1]

    @property
    def empty_parts(self) -> list[str]:
        """The parts that the model could have and leaves out."""
        return [name for name, (library, _) in _parts(self.entries).items() if library is None]

    @property
    def loaded_parts(self) -> list[Path]:
        """The folders of the parts that are loaded."""
        parts = _parts(self.entries).items()
        names = [name for name, (library, _) in parts if library is not None]
        return [self.folder / name for name in names if name not in UNUSED_PARTS]

    @cached_property
    def network_config(self) -> Mapping[str, Any]:
        """The configuration of the network that denoises."""
        return _read_json(self._network_path)

    @property
    def usual_pace(self) -> tuple[int, float]:
        """The usual number of steps and guidance."""
        return pace(self.family, self.network_config, self.entries)

    @property
    def default_size_hw(self) -> tuple[int, int]:
        """The height and width in pixels that the model was made for."""
        vae_path = self.folder / "vae" / "config.json"
        sample_size = self.network_config.get("sample_size")
        blocks = _read_json(vae_path).get("block_out_channels")
        if self.family.part != "unet" and (sample_size is None or blocks is None):
            return self.family.side_px, self.family.side_px
        sides = sample_size if isinstance(sample_size, list) else [sample_size] * 2
        if len(sides) != 2 or not all(type(one) is int and one in LATENT_SIDES for one in sides):
            raise InputError(
                f"expected sample_size in {self._network_path}, got {shown(sample_size)}"
            )
        if not isinstance(blocks, list) or len(blocks) not in BLOCKS:
            raise InputError(f"expected block_out_channels in {vae_path}, got {shown(blocks)}")
        h, w = sides
        return h * 2 ** (len(blocks) - 1), w * 2 ** (len(blocks) - 1)

    @property
    def text_width(self) -> int:
        """The width of the text that a UNet attends to, 0 for a model without a UNet."""
        if self.family.network != UNET_CLASS:
            return 0
        return whole(self.network_config, "cross_attention_dim")

    @property
    def _network_path(self) -> Path:
        return self.folder / self.family.part / "config.json"


def read_index(folder: Path) -> Index:
    """Read the index of a model.

    Raises `InputError` for folders that are no diffusers model, and for models of other kinds.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"expected a diffusers model folder, got {folder} without {INDEX}")
    entries = _read_json(folder / INDEX)
    parts = _parts(entries)
    for name in parts:
        if not PART_NAME.fullmatch(name):
            raise InputError(f"expected parts of a model in {folder / INDEX}, got {name!r}")
    classes = (parts.get(name, (None, None))[1] for name in ("unet", "transformer"))
    network, pipeline = next(filter(None, classes), None), entries.get("_class_name")
    family = family_of(pipeline, network)
    if family is None:
        raise refuse_family(folder, pipeline, network)
    config = folder / family.part / "config.json"
    if config.is_file():
        family = with_guidance(family, _read_json(config))
    return Index(folder, entries, family)


def _parts(entries: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Return library and class of each part; all else in the index is a setting."""
    pairs = {name: one for name, one in entries.items() if isinstance(one, list) and len(one) == 2}
    return {name: (first, second) for name, (first, second) in pairs.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file at {path}, got {reason(error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"expected a JSON object in {path}, got {shown(tree)}")
    return tree
