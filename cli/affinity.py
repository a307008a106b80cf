"""`diffumask affinity train`: an AffinityNet from the images and kept heat maps of a dataset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.errors import InputError

from .progress import step_progress
from .result import Result

if TYPE_CHECKING:  # they load numpy
    from diffumask.types import GridHeat, Image


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; `steps` of None stands for the default."""

    data: Path
    out: Path
    classes: tuple[str, ...] = ()
    steps: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise InputError(f"expected --steps of 1 or more, got {self.steps}")


def run(request: Request) -> Result:
    """Train a network and write it, and return a line that says where.

    Raises InputError for what the user can mend, before the training where that can be known.
    """
    from diffumask.dataset.run import read_run

    run = read_run(request.data)
    if not run.keeps_maps:
        raise InputError(
            f"expected a dataset made with --keep-maps, got {request.data}; make it so"
        )
    for name in request.classes:
        if name not in run.classes:
            known = ", ".join(run.classes)
            raise InputError(f"expected classes of {request.data} ({known}), got {name!r}")
    if request.out.exists() and not request.out.is_dir():
        raise InputError(f"expected a folder as --out, got the file {request.out}")
    items = list(read_items(request.data, request.classes or tuple(run.classes)))

    from diffumask.affinity_net import AffinitySettings, train_affinity
    from diffumask.models import find_device

    settings = AffinitySettings(seed=request.seed, device=str(find_device(request.device)))
    if request.steps:
        settings = replace(settings, num_steps=request.steps)
    images, heats = zip(*items, strict=True) if items else ((), ())
    with step_progress(settings.num_steps) as on_step:
        net = train_affinity(images, heats, settings, request.out, on_step)
    text = (
        f"trained on {net.facts.n_sure_items} of {net.facts.n_items} items; the network is in"
        f" {request.out}, for --affinity {request.out}"
    )
    facts = {
        "folder": request.out,
        "items": net.facts.n_items,
        "sure_items": net.facts.n_sure_items,
        "steps": net.facts.num_steps,
    }
    return Result(text, facts, folder=request.out)


def read_items(
    folder: Path, class_names: tuple[str, ...]
) -> "Iterator[tuple[Image, Mapping[str, GridHeat]]]":
    """Read each item of some classes: its image, and the heat maps of its words by class."""
    from diffumask.dataset.decode import read_image
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.maps import read_maps

    for record in read_records(folder):
        if record.class_name in class_names:
            heats, _ = read_maps(folder, record)
            of_classes = {one.class_name: heats[one.word] for one in record.prompt.targets}
            yield read_image(folder, record), of_classes
