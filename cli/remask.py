"""`diffumask remask`: other masks for the images and heat maps of a dataset."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffumask.errors import InputError

from . import mask_source
from .mask_options import NONE, SELF_ATTENTION, MaskOptions, identity, mask_settings
from .progress import progress
from .result import Result

if TYPE_CHECKING:
    from diffumask.calibration.file import Thresholds
    from diffumask.dataset.run import Run
    from diffumask.masks.class_map import MaskSettings


def run(
    folder: Path,
    out: Path,
    options: MaskOptions,
    model: str | None = None,
    device: str = "auto",
) -> Result:
    """Write the dataset with its new masks, and return a line that says where.

    Raises InputError for a folder that is no dataset or kept no maps, for the same folder twice,
    and for thresholds of another model or without one of the classes.
    """
    from diffumask.dataset.items import read_records
    from diffumask.dataset.store import PREVIEW_FILE, open_store, read_run
    from diffumask.generation.pipeline import remask, write_preview

    if folder.resolve() == out.resolve():
        raise InputError(f"expected another folder for the new masks, got {out}; choose one")
    run = read_run(folder)
    records = read_records(folder)
    settings, classes = run.settings, run.classes
    if not run.keeps_maps:
        raise InputError(f"expected a dataset made with --keep-maps, got {folder}; make it so")
    if options.wants_self_attention and run.setting("affinity") != SELF_ATTENTION:
        options = replace(options, affinity=NONE)
    if options.calibration:
        _check(options.calibration, run, list(classes))

    masks = _with_source(options, model or run.setting("model"), list(classes), device)
    notes = {"masks_of": str(folder)}
    with open_store(out, {**settings, **identity(options, masks)}, classes, notes) as store:
        with progress(len(records), len(store.records)) as advance:
            for _ in remask(folder, store, masks):
                advance(1)
        write_preview(store)
    text = f"{len(records)} items in {out}; look at {out / PREVIEW_FILE}"
    return Result(text, {"folder": out, "items": len(records)}, folder=out)


def _with_source(
    options: MaskOptions, model: str, class_names: Sequence[str], device: str
) -> "MaskSettings":
    """Return the settings; a Segmentator reads what the VAE of the model makes of the images."""
    masks = mask_source.with_prompted(options, mask_settings(options), device)
    if options.segmentator is None:
        return masks
    from diffumask.models import load_autoencoder, resolve

    spec = resolve(model)
    mask_source.check_fit(options, spec, class_names)
    return mask_source.bound(options, masks, load_autoencoder(spec, device), spec)


def _check(calibration: "Thresholds", run: "Run", class_names: Sequence[str]) -> None:
    """Refuse thresholds that were found on heat maps of another kind."""
    calibration.check_model(run.setting("model"), run.setting("checkpoint"))
    for name in class_names:
        calibration.of(name)
    made = {"merge": run.setting("merge"), "weights": run.weights()}
    found = {"merge": calibration.merge, "weights": calibration.weights}
    if made != found:
        raise InputError(
            f"expected heat maps made as the thresholds' were ({found}), got {made}; generate"
            " with the thresholds file, or calibrate on this dataset"
        )
