"""SAM and SAM 2 as a source, asked for the box around what attention shows of each target."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffumask.masks.class_map import make_class_map
from diffumask.masks.refine import from_labels
from diffumask.masks.refine.sam import SamRefiner
from diffumask.masks.settings import MaskSettings
from diffumask.models import load_sam_model
from diffumask.types import BACKGROUND_ID, Objects, Prompt, Sample

CERTAIN = 0.9  # of the labels that ask: SAM takes their box and middle alone


@dataclass(frozen=True, slots=True)
class SamSource:
    """See `diffumask.masks.sources`. A target that attention does not show is absent."""

    refiner: SamRefiner

    def __call__(self, sample: Sample) -> Objects:
        heat = "affinity" if sample.affinities else "attention"
        asked = MaskSettings(heat=heat, refiner="none", uncertain_band=0.0)
        class_map = make_class_map(sample, asked).class_map
        ids = [BACKGROUND_ID, *(target.class_id for target in sample.prompt.targets)]
        labels = np.zeros((1, *class_map.shape), int)
        for label, class_id in enumerate(ids):
            labels[0][class_map == class_id] = label
        (seen,) = self.refiner(sample.image, from_labels(labels, len(ids), CERTAIN))
        return np.concatenate([seen, np.zeros_like(seen[:1])])

    def watching(
        self, pipe: Any, prompts: Sequence[Prompt]
    ) -> AbstractContextManager[list[Objects]]:
        """Watch nothing: SAM looks at the image, and asks what attention has shown."""
        return nullcontext([])


def sam_source(kind: str, folder: str, device: str) -> SamSource:
    """Make a source of a "sam" or "sam2"; raises `InputError` as `load_sam_model` does."""
    return SamSource(SamRefiner(load_sam_model(Path(folder), device, kind)))
