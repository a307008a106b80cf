"""An AffinityNet from the images and kept heat maps of a dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .option import Option, Options, StrPath
from .progress import phase, step_progress
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # they load numpy and torch
    from diffumask.affinity_net import AffinityNet
    from diffumask.types import GridHeat, Image


@dataclass(frozen=True, kw_only=True)
class AffinityTrainOptions(Options):
    """The options of `affinity_train`."""

    data: Annotated[StrPath, Option("Dataset that keeps its heat maps.", read=True)]
    out: Annotated[StrPath, Option("Folder of the network.")]
    classes: Annotated[
        Sequence[str],
        Option("Class to train on; repeat.", name="class", default="all", values=values.classes),
    ] = ()
    steps: Annotated[int | None, Option("Training steps of 16 images.", default="300", least=1)] = (
        None
    )
    seed: Annotated[int, Option("Seed of the training.", least=0)] = 0
    device: Annotated[str, Option("As for generate.", values=values.DEVICES)] = "auto"


@use_case(AffinityTrainOptions)
def affinity_train(options: AffinityTrainOptions) -> "Result[AffinityNet]":
    """Train a network that spreads heat to alike pixels.

    It learns from images and kept heat; no mask is drawn. generate and remask take the folder
    as their affinity. The same command goes on where an earlier one stopped.

    Returns the network. Raises InputError for what the user can mend, before the training where
    that can be known.
    """
    from diffumask.dataset.run import read_run

    data, out = Path(options.data), Path(options.out)
    run = read_run(data)
    if not run.keeps_maps:
        raise InputError(f"expected a dataset made with keep_maps, got {data}; make it so")
    for name in options.classes:
        if name not in run.classes:
            known = ", ".join(run.classes)
            raise InputError(f"expected classes of {data} ({known}), got {name!r}")
    if out.exists() and not out.is_dir():
        raise InputError(f"expected a folder of the network, got the file {out}")
    with phase("reading items"):
        items = list(_read_items(data, options.classes or tuple(run.classes)))

    from diffumask.affinity_net import AffinitySettings, train_affinity
    from diffumask.models import find_device

    settings = AffinitySettings(seed=options.seed, device=str(find_device(options.device)))
    if options.steps:
        settings = replace(settings, num_steps=options.steps)
    images, heats = zip(*items, strict=True) if items else ((), ())
    with step_progress("training") as on_step:
        net = train_affinity(images, heats, settings, out, on_step)
    text = (
        f"trained on {net.facts.n_sure_items} of {counted(net.facts.n_items, 'item')}; the "
        f"network is in {out}, the affinity of generate and remask"
    )
    facts = {
        "folder": out,
        "items": net.facts.n_items,
        "sure_items": net.facts.n_sure_items,
        "steps": net.facts.num_steps,
    }
    return Result(net, text, facts, out)


def _read_items(
    folder: Path, class_names: Sequence[str]
) -> "Iterator[tuple[Image, Mapping[str, GridHeat]]]":
    """Read each item of some classes: its image, and the heat maps of its words by class."""
    from diffumask.dataset.decode import read_image
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.maps import read_maps

    for record in read_records(folder):
        if record.class_name in class_names:
            heats, _ = read_maps(folder, record)
            of_classes = {target.class_name: heats[target.word] for target in record.prompt.targets}
            yield read_image(folder, record), of_classes
