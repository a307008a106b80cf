"""`diffumask import`: a dataset with masks that people corrected."""

from pathlib import Path

from .export import refuse_inside
from .progress import progress
from .result import Result


def run(masks: Path, format_name: str, data: Path, out: Path) -> Result:
    """Write the dataset with its corrected masks, and return a line that says where.

    Every mask is checked, and on the first that is wrong no new folder is left. Raises InputError
    for what the user can mend.
    """
    from diffumask.dataset.dataset import Dataset
    from diffumask.dataset.parts import PREVIEW_FILE
    from diffumask.dataset.preview import write_preview
    from diffumask.dataset.store import open_store
    from diffumask.formats.archive import justified_bytes, open_archive
    from diffumask.formats.corrected import CORRECTED, Originals, correct
    from diffumask.formats.folder import new_folder
    from diffumask.formats.registry import reader

    read = reader(format_name)
    refuse_inside(out, data)
    source = Dataset.open(data, with_dropped=True).require_items()
    source.check()
    originals = Originals(source)
    settings = {**source.run.settings, "masks_from": format_name}
    notes = {"masks_of": str(data), "corrected_masks": str(masks)}
    max_bytes = justified_bytes(len(source), source.size_hw)
    with new_folder(out) as folder, open_archive(masks, max_bytes) as archive:
        with open_store(folder, settings, originals.class_ids, notes) as store:
            with progress(len(source), 0) as advance:
                for _ in correct(originals, read(archive, originals), store):
                    advance(1)
            write_preview(store)
        n_corrected = sum(record.mask_source == CORRECTED for record in store.records.values())
    text = (
        f"{len(source)} items in {out}, {n_corrected} with corrected masks; "
        f"look at {out / PREVIEW_FILE}"
    )
    facts = {
        "folder": out,
        "items": len(source),
        "corrected": n_corrected,
        "left_out": dict(originals.left_out),
        "kept": originals.kept,
        "emptied": originals.emptied,
    }
    return Result("\n".join([text, *originals.notes()]), facts, folder=out)
