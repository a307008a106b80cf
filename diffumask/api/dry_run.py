"""What a run would make and take, told without starting it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted
from diffumask.errors import InputError

if TYPE_CHECKING:
    from diffumask.generation.cost import Figure, Work

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Plan:
    """How many items a run would have in its folder, and how many are there.

    Each may be drawn again at most `redraw` times, of which nobody knows beforehand.
    """

    out: Path
    planned: int
    done: int
    keep_maps: bool
    redraw: int = 0


def check_gpu(gpu: str | None, pace_s: float | None) -> None:
    """Raise InputError for a GPU that is not in the table, and for a pace that is none."""
    from diffumask.generation.cost import GPUS

    if gpu is not None and gpu not in GPUS:
        raise InputError(f"expected a GPU {', '.join(GPUS)}, got {gpu!r}; or give a pace")
    if pace_s is not None and not 0 < pace_s < float("inf"):
        raise InputError(f"expected a pace in seconds of an image, got {pace_s}")


def check_model(model: str) -> None:
    """Raise InputError for a model of the hub whose sizes would have to be downloaded."""
    from diffumask.models import MODELS

    if model not in MODELS and not Path(model).is_dir():
        raise InputError(
            f"expected {', '.join(MODELS)} or a folder as the model of a dry run, got {model!r}, "
            "of which nothing is known before it is downloaded"
        )


def estimate(
    plan: Plan, work: "Work", why: str, gpu: str | None, pace_s: float | None, workers: int
) -> tuple[str, dict[str, Any]]:
    """Tell items, time, memory and disk, and where each figure is from; as text and as facts.

    `why` says where the batch size comes from.
    """
    from diffumask.generation.cost import gpu_bytes, item_bytes, seconds_per_image

    out, left = plan.out, plan.planned - plan.done
    each, memory = seconds_per_image(work, gpu, pace_s), gpu_bytes(work)
    disk = item_bytes(work, plan.keep_maps, _made(out))
    uncounted = "; what is drawn again is not counted" if plan.redraw else ""
    lines = [
        f"items   {plan.planned} planned, {plan.done} in {out}, {left} to make{uncounted}",
        f"batch   {counted(work.batch_size, 'image')} at a time ({why})",
        f"time    {_time(each, left, workers)} ({each.source})",
        f"VRAM    {_size(memory, 1)} ({memory.source})",
        f"disk    {_size(disk, left)} of {_free(out)} free ({disk.source})",
        "nothing was started",
    ]
    seconds = None if each.value is None else each.value * left / workers
    facts = {
        "folder": out,
        "planned": plan.planned,
        "done": plan.done,
        "to_make": left,
        "batch_size": work.batch_size,
        "seconds": seconds,
        "gpu_bytes": memory.value,
        "disk_bytes": None if disk.value is None else disk.value * left,
    }
    return "\n".join(lines), facts


def _time(each: "Figure", count: int, workers: int) -> str:
    if each.value is None:
        return "?"
    hours = each.value * count / workers / 3600
    shared = f" by {workers} workers" if workers > 1 else ""
    rate = f"{each.value:.3g} s/item, {3600 / each.value:,.0f} items/hour of one worker"
    return f"{hours:.2f} hours{shared}, {rate}"


def _size(figure: "Figure", count: int) -> str:
    return "?" if figure.value is None else f"{figure.value * count / GIB:.3g} GiB"


def _made(out: Path) -> tuple[int, int]:
    """Return the items of a folder that tell their sizes, and how many bytes these have."""
    from diffumask.dataset.listing import read_records

    told = [record.files for record in read_records(out) if record.files]
    return len(told), sum(one["bytes"] for files in told for one in files.values())


def _free(out: Path) -> str:
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    return f"{shutil.disk_usage(there).free / GIB:.3g} GiB"
