"""Heat maps kept beside a dataset, so that masks can be made again without sampling again.

maps/Bird_000012.safetensors   uint8, "heat:WORD" and "affinity:WORD", 255 the peak
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from diffumask.errors import InputError
from diffumask.inside import read_inside
from diffumask.records import MAPS, file_paths, record_name
from diffumask.types import HEAT_LEVELS, GridHeat, Sample

HEAT, AFFINITY = "heat", "affinity"


def encode_maps(sample: Sample) -> bytes:
    """Encode the heat maps and affinities of a sample, a byte a cell."""
    kinds = {HEAT: sample.heats, AFFINITY: sample.affinities}
    return save(
        {
            f"{kind}:{word}": np.round(heat * HEAT_LEVELS).astype(np.uint8)
            for kind, heats in kinds.items()
            for word, heat in heats.items()
        }
    )


def maps_path(name: str) -> str:
    """Return where the maps of an item are kept, relative to the dataset folder."""
    return file_paths(name)[MAPS]


def read_maps(
    folder: Path, record: Mapping[str, Any]
) -> tuple[Mapping[str, GridHeat], Mapping[str, GridHeat]]:
    """Read the heat maps and affinities of an item, by word.

    Raises InputError where they were not kept or are damaged.
    """
    name = maps_path(record_name(record))
    path = folder / name
    try:
        tensors = load(read_inside(folder, name))
    except OSError as error:
        raise InputError(
            f"expected kept heat maps in {path}, got {error.strerror}; generate with --keep-maps"
        ) from error
    except SafetensorError as error:
        raise InputError(f"expected heat maps in {path}, got a damaged file") from error
    heats: dict[str, dict[str, GridHeat]] = {HEAT: {}, AFFINITY: {}}
    for key, levels in tensors.items():
        kind, _, word = key.partition(":")
        if kind not in heats or levels.dtype != np.uint8 or levels.ndim != 2:
            raise InputError(f"expected heat maps in {path}, got {key!r} of {levels.dtype}")
        heats[kind][word] = (levels / HEAT_LEVELS).astype(np.float32)
    return heats[HEAT], heats[AFFINITY]
