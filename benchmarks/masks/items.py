"""An image with its truth and all attention to it, kept on disk: items, written and read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from benchmarks.judges.oracle import MIN_AREA
from diffumask.attention.running_means import Attention
from diffumask.files.atomic import new_file
from diffumask.proof.figures import ASKED
from diffumask.sampling.sample import heat_maps
from diffumask.types import ClassMap, Image, Prompt, Sample, Target

RIGHT, WRONG = "right", "wrong"  # prompts, and how the attention under them is kept


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model attended to in an image under a prompt: `Attention` of one image.

    `maps` are means of cross-attention by the factor of the grid and by column; `columns` are those
    of each word that was captured. `n_heads` says how many heads each grid averages, `matrix` is
    the mean self-attention on a grid of `matrix_hw`, `presences` what targets explain, by word.
    """

    prompt: Prompt
    columns: Mapping[str, tuple[int, ...]]
    maps: Mapping[int, Float32[np.ndarray, "column _h _w"]]
    n_heads: Mapping[int, int]
    matrix_hw: tuple[int, int]
    matrix: Float32[np.ndarray, "n n"]
    presences: Mapping[str, float]

    @property
    def attention(self) -> Attention:
        """The attention as the library has it."""
        attention = Attention()
        positions = attention.expect([self.columns])
        for factor, maps in self.maps.items():
            grid = attention.grid((maps.shape[1], maps.shape[2]), factor, positions)
            grid.words.total += torch.from_numpy(maps)[None]
            grid.words.count_of("all").add_(1)
            grid.n_heads = self.n_heads[factor]
        sums = attention.matrix(self.matrix_hw, positions)
        sums.total += torch.from_numpy(self.matrix).unflatten(1, self.matrix_hw)[None]
        sums.count_of("all").add_(1)
        return attention


@dataclass(frozen=True, slots=True)
class Item:
    """An image, where its objects are (see `diffumask.proof.figures`), and what was attended to.

    `oracle` is the IoU of what the oracle sees with an exact truth, NaN where it is the truth.
    """

    kind: str
    class_name: str
    seed: int
    image: Image
    truth: ClassMap
    right: Seen
    wrong: Seen
    oracle: float

    @property
    def present(self) -> bool:
        """Whether the truth shows the asked object on enough of the image."""
        return float((self.truth == ASKED).mean()) >= MIN_AREA

    def sample(self, seen: Seen) -> Sample:
        """Return the sample as the package makes it of what was seen."""
        ((heats, affinities),) = heat_maps(seen.attention)
        of_image = seen.prompt, self.seed, self.image, heats, affinities
        return Sample(*of_image, presences=seen.presences)


def write(path: Path, items: Sequence[Item]) -> None:
    arrays: dict[str, Any] = {}
    texts = []
    for i, item in enumerate(items):
        arrays |= {f"{i}/image": item.image, f"{i}/truth": item.truth}
        text: dict[str, Any] = {
            name: getattr(item, name) for name in ("kind", "class_name", "seed", "oracle")
        }
        for name in (RIGHT, WRONG):
            seen: Seen = getattr(item, name)
            arrays[f"{i}/{name}/matrix"] = seen.matrix.astype(np.float16)
            for factor, maps in seen.maps.items():
                arrays[f"{i}/{name}/{factor}"] = maps
            kept = {"columns": seen.columns, "n_heads": seen.n_heads, "hw": seen.matrix_hw}
            text[name] = {"prompt": asdict(seen.prompt), "presences": seen.presences, **kept}
        texts.append(text)
    with new_file(path) as partial:
        np.savez(partial, texts=np.array(json.dumps(texts)), **arrays)


def read(path: Path) -> list[Item]:
    """Read a file that `gather` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    return [
        Item(
            **{name: text[name] for name in ("kind", "class_name", "seed", "oracle")},
            image=stored[f"{i}/image"],
            truth=stored[f"{i}/truth"],
            right=_read_seen(text[RIGHT], stored, f"{i}/{RIGHT}"),
            wrong=_read_seen(text[WRONG], stored, f"{i}/{WRONG}"),
        )
        for i, text in enumerate(json.loads(str(stored["texts"])))
    ]


def _read_seen(text: Mapping[str, Any], stored: Mapping[str, Any], prefix: str) -> Seen:
    n_heads = {int(factor): count for factor, count in text["n_heads"].items()}
    targets = tuple(Target(**one) for one in text["prompt"]["targets"])
    h, w = text["hw"]
    return Seen(
        Prompt(**text["prompt"] | {"targets": targets}),
        {word: tuple(columns) for word, columns in text["columns"].items()},
        {factor: stored[f"{prefix}/{factor}"] for factor in n_heads},
        n_heads,
        (h, w),
        stored[f"{prefix}/matrix"].astype(np.float32),
        text["presences"],
    )
