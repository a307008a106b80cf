"""Other masks for the images and heat maps of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.articles import counted
from diffumask.errors import InputError

from . import values
from .mask_options import MaskOptions
from .option import Option, StrPath
from .progress import progress, starting_torch
from .result import Result, look_at
from .use_case import use_case

if TYPE_CHECKING:
    from diffumask.api.dataset import Dataset
    from diffumask.dataset.run import Run
    from diffumask.recipe.choice import Loaded
    from diffumask.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RemaskOptions(MaskOptions):
    """The options of `remask`."""

    folder: Annotated[
        StrPath, Option("Dataset that keeps its heat maps.", positional=True, read=True)
    ]
    out: Annotated[StrPath, Option("Folder of the new dataset.")]
    model: Annotated[
        str | None,
        Option("Whose VAE a Segmentator reads.", default="the dataset's", values=values.models),
    ] = None
    device: Annotated[str, Option("As for generate; for a Segmentator.", values=values.DEVICES)] = (
        "auto"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.folder).resolve() == Path(self.out).resolve():
            raise InputError(
                f"expected another folder for the new masks, got {self.out}; choose one"
            )


@use_case(RemaskOptions)
def remask(options: RemaskOptions) -> "Result[Dataset]":
    """Make the masks of a dataset again with other settings.

    Nothing is sampled; the masks and copies of the images come into a new folder.

    Returns the new dataset. Raises InputError for a folder that is no dataset or kept no maps, and
    for thresholds of another model or without one of the classes.
    """
    from diffumask.dataset.listing import read_records
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.run import read_run
    from diffumask.dataset.store import check_folder, open_store

    from .dataset import open_dataset

    folder, out = Path(options.folder), Path(options.out)
    run, records = read_run(folder), read_records(folder)
    if not run.keeps_maps:
        raise InputError(f"expected a dataset made with keep_maps, got {folder}; make it so")
    recipe = _open(options, run)
    kept = {name: value for name, value in run.settings.items() if name != "preset"}
    described = {**kept, **recipe.describe()}
    check_folder(out, described, run.classes)
    with starting_torch():
        from diffumask.generation.pipeline import remask as remask_items

    loaded = _loaded(options, recipe, run)
    notes = {"masks_of": str(folder)}
    with recipe.bind(loaded) as masks, open_store(out, described, run.classes, notes) as store:
        with progress("masks", len(records), len(store.records), "mask") as advance:
            for _ in remask_items(folder, store, masks):
                advance(1)
        write_preview(store)
    facts = {"folder": out, "items": len(records)}
    text = f"{counted(len(records), 'item')} in {out}{look_at(out)}"
    return Result(open_dataset(out), text, facts, out)


def _open(options: RemaskOptions, run: "Run") -> "Recipe":
    """Open the choices, and check them against what the dataset keeps."""
    from diffumask.recipe.choice import NONE
    from diffumask.recipe.heat import SELF_ATTENTION, Affinity

    kept = run.setting("affinity") if options.affinity == SELF_ATTENTION else SELF_ATTENTION
    more = {} if kept == SELF_ATTENTION else {"affinity": Affinity(NONE)}
    recipe = options.open_recipe(**more)
    recipe.check(list(run.classes))
    calibration, preset = recipe.threshold.calibration, recipe.preset
    if calibration is not None:
        calibration.check_model(run.setting("model"), run.setting("checkpoint"))
        made, found = run.heat_made(), calibration.setting.heat_made
        if made != found:
            raise InputError(
                f"expected heat maps made as the thresholds' were ({found}), got {made}; generate"
                " with the thresholds file, or calibrate on this dataset"
            )
    if preset.settings is not None:
        preset.check_checkpoint(run.setting("model"), run.setting("checkpoint"))
        made = run.heat_made()
        if made != preset.settings.heat_made:
            raise InputError(
                f"expected heat maps made as the preset {preset.name} says "
                f"({preset.settings.heat_made}), got {made}; generate with the preset"
            )
    return recipe


def _loaded(options: RemaskOptions, recipe: "Recipe", run: "Run") -> "Loaded":
    """Load what the masks need of a model: the VAE that a Segmentator reads, or nothing."""
    from diffumask.recipe.choice import Loaded

    asked: tuple[Any, ...] = (options.model,)
    if options.model is None:
        asked = run.setting("model"), run.settings.get("revision"), run.settings.get("variant")
    if recipe.source.head is None:
        return Loaded(options.device)
    from diffumask.models import load_autoencoder, resolve

    spec = resolve(*asked)
    recipe.source.check_model(spec)
    return Loaded(options.device, spec, load_autoencoder(spec, options.device))
