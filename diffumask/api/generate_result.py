"""What `generate` tells of its folder, and whether there is anything left to make."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted

from .generate_batch import settled_batch
from .generate_request import Request
from .progress import phase
from .result import Result, look_at

if TYPE_CHECKING:  # torch takes seconds to import
    from diffumask.api.dataset import Dataset
    from diffumask.dataset.record import Record
    from diffumask.models import ModelSpec
    from diffumask.sampling.settings import SampleSettings

STAMP = "model_stamp"  # by which a later run knows that the files of the model are the same
REMARKS = {
    "without_mask": "without a mask of each object",
    "drawn_again": "drawn again",
    "decoded_in_float32": "decoded in float32 as the VAE overflowed",
}


def finished(
    request: Request, spec: "ModelSpec", sampling: "SampleSettings", described: Mapping[str, Any]
) -> "Result[Dataset] | None":
    """Return what a run gives that has nothing left to make; None for another.

    Neither torch nor the network is asked, and a checkpoint is only read if its files have changed.
    """
    from diffumask.dataset.run import read_run
    from diffumask.dataset.store import check_folder, settled_records
    from diffumask.models import fingerprint, offline, stamp

    out, options = request.out, request.options
    records = settled_records(out)
    batch = settled_batch(request, spec, sampling)
    items = [item.name for item in request.items(batch.size if batch else 1)]
    if not records or not records.keys() >= set(items):
        return None
    run, there = read_run(out), offline(spec)
    if options.dtype not in ("auto", run.settings.get("dtype")):
        return None  # which the device may lack: the way of a run that makes items tells
    if there is not None and not any(notes.get(STAMP) == stamp(there) for notes in run.runs):
        with phase("reading the model"):
            described = {**described, "checkpoint": fingerprint(there)}
        check_folder(out, described, request.source.class_ids, later=("dtype",))
    return result_of(request, records, len(items), is_new=False)


def result_of(
    request: Request, records: "Mapping[str, Record]", asked: int, is_new: bool
) -> "Result[Dataset]":
    """Tell what a folder holds, of which so many items were asked for."""
    from diffumask.dataset.record import VAE_DTYPE

    from .dataset import open_dataset

    out, total = request.out, len(records)
    counts = {
        "without_mask": sum(not record.is_usable for record in records.values()),
        "drawn_again": sum(record.attempt is not None for record in records.values()),
        "decoded_in_float32": sum(VAE_DTYPE in record.fields for record in records.values()),
    }
    remarks = [f"{n} of them {REMARKS[what]}" for what, n in counts.items() if n]
    if total > asked:
        remarks.insert(0, f"the {asked} asked for among them")
    text = ", ".join([f"{counted(total, 'item')} in {out}", *remarks]) + look_at(out)
    facts = {"folder": out, "items": total, "asked": asked, **counts}
    return Result(open_dataset(out), text, facts, out, is_new=is_new)
