"""Go through a labelled dataset and count how predictions agree with it."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path

import cv2

from diffumask.errors import InputError
from diffumask.labelled.folder import Labelled
from diffumask.labelled.mapping import decode
from diffumask.labelled.pairs import read_mask
from diffumask.types import ClassMap, Image

from .counts import Counts, count, no_counts

CHUNK = 24  # images that go to a process at a time

Advance = Callable[[int], None]


def find_predictions(folder: Path, labelled: Labelled) -> list[Path]:
    """Find the PNG of each labelled image in a folder, its subfolder masks/ if there is one.

    A prediction has the name of the image file, of the mask file, or of the item. Others are left
    alone. Raises InputError where one is missing, or two go by one name.
    """
    inner = folder / "masks" if (folder / "masks").is_dir() else folder
    paths: dict[str, Path] = {}
    for path in sorted(inner.rglob("*.png")):
        other = paths.setdefault(path.stem, path)
        if other != path:
            raise InputError(f"expected one prediction of a name, got {other} and {path}")
    names = [pair.names for pair in labelled.pairs]
    found = [next((paths[one] for one in of if one in paths), None) for of in names]
    missing = [of[0] for of, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise InputError(
            f"expected {len(names)} predictions NAME.png in {inner}, got none for "
            f"{len(missing)}, such as {missing[0]!r}; predict them or choose a split"
        )
    return [path for path in found if path is not None]


def compare_files(
    labelled: Labelled, predictions: Sequence[Path], advance: Advance, workers: int = 1
) -> Counts:
    """Count how predicted masks agree, `predictions[i]` with `labelled[i]`.

    The images are not read. With several `workers` the script that calls must guard its start
    with `if __name__ == "__main__"`. `advance` learns how many were compared. Raises InputError
    as reading `labelled` does, and for predictions that do not fit.
    """
    starts = range(0, len(labelled), CHUNK)
    data = [labelled[start : start + CHUNK] for start in starts]
    paths = [list(predictions[start : start + CHUNK]) for start in starts]
    total = no_counts()
    if workers == 1 or len(data) == 1:
        chunks: Iterator[Counts] = map(_count_chunk, data, paths)
        return _summed(chunks, total, advance)
    # fork would copy the threads of torch and OpenCV in whatever state they are in.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(data)), spawn, _start_worker) as pool:
        try:
            return _summed(pool.map(_count_chunk, data, paths), total, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def compare_network(
    labelled: Labelled,
    predict: Callable[[Image], ClassMap],
    advance: Advance = lambda count: None,
    with_outlines: bool = True,
) -> Counts:
    """Count how well a function names the pixels of each image, and, if wanted, its outlines.

    `advance` learns how many were compared.
    """
    ids = outlined(labelled) if with_outlines else []
    each = (count(predict(one.image), one.class_map, ids) for one in labelled)
    return _summed(each, no_counts(), advance)


def outlined(labelled: Labelled) -> list[int]:
    """Return the ids whose boundary F is counted: all but background, which is the rest."""
    ids = list(labelled.mapping.names)
    return ids[1:] if labelled.mapping.has_background else ids


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits


def _count_chunk(labelled: Labelled, predictions: Sequence[Path]) -> Counts:
    ids = outlined(labelled)
    counts = []
    for index, path in enumerate(predictions):
        truth = labelled.class_map(index)
        raw = read_mask(path, (truth.shape[0], truth.shape[1]))
        counts.append(count(decode(raw, labelled.mapping.predicted, path), truth, ids))
    return reduce(add, counts)


def _summed(each: Iterator[Counts], total: Counts, advance: Advance) -> Counts:
    for one in each:
        total += one
        advance(one.images)
    return total
