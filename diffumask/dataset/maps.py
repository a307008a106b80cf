"""Heat maps kept beside a dataset, so that masks can be made again without sampling again.

maps/Bird_000012.safetensors   uint8, "heat:WORD" and "affinity:WORD", 255 the peak
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from diffumask.errors import InputError
from diffumask.files.inside import read_inside
from diffumask.types import HEAT_LEVELS, GridHeat, Sample

from .decode import read_image
from .names import MAPS, file_paths
from .record import Record

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
    folder: Path, record: Record
) -> tuple[Mapping[str, GridHeat], Mapping[str, GridHeat]]:
    """Read the heat maps and affinities of an item, by word.

    Raises InputError where they were not kept, are damaged or lack a word of the prompt.
    """
    name = maps_path(record.name)
    path = folder / name
    try:
        tensors = load(read_inside(folder, name))
    except OSError as error:
        raise InputError(
            f"expected kept heat maps in {path}, got {error.strerror}; generate with keep_maps"
        ) from error
    except SafetensorError as error:
        raise InputError(f"expected heat maps in {path}, got a damaged file") from error
    heats: dict[str, dict[str, GridHeat]] = {HEAT: {}, AFFINITY: {}}
    for key, levels in tensors.items():
        kind, _, word = key.partition(":")
        if kind not in heats or levels.dtype != np.uint8 or levels.ndim != 2 or not levels.size:
            size = "x".join(map(str, levels.shape))
            raise InputError(f"expected heat maps in {path}, got {key!r} of {size} {levels.dtype}")
        heats[kind][word] = (levels / HEAT_LEVELS).astype(np.float32)
    for target in record.prompt.targets:
        for kind, of_kind in heats.items():
            if target.word not in of_kind and (of_kind or kind == HEAT):
                raise InputError(f"expected heat of {target.word!r} in {path}, got none of {kind}")
    return heats[HEAT], heats[AFFINITY]


def read_sample(folder: Path, record: Record) -> Sample:
    """Read an item as it was sampled: its image, its maps and its presences; raises as they do."""
    image, maps = read_image(folder, record), read_maps(folder, record)
    return Sample(record.prompt, record.seed, image, *maps, presences=record.presences)
