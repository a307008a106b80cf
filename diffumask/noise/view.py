"""A filtered view of a dataset: a dataset of its own, with the items that were kept."""

from collections.abc import Mapping
from typing import Any

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.record import Record
from diffumask.dataset.writer import Store

from .items import names_digest

BATCH_ITEMS = 256

Facts = Mapping[str, Mapping[str, Any]]


def kept_records(source: Dataset, facts: Facts) -> dict[str, Record]:
    """Return the records that stay, by name, with the fields that the filter gives them."""
    filtered = [record.changed(facts[record.name]) for record in source.records]
    return {record.name: record for record in filtered if not record.is_dropped}


def view_settings(
    source: Dataset, records: Mapping[str, Record], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of run.json: those of the source, of the filter, and what it kept."""
    named = {f"filter_{key}": value for key, value in settings.items()}
    return {**source.run.settings, **named, "filter_kept": names_digest(list(records))}


def link_items(source: Dataset, records: Mapping[str, Record], store: Store) -> None:
    """Take those items over that the folder lacks; their files are linked, or else copied."""
    missing = sorted(set(records) - set(store.records))
    for start in range(0, len(missing), BATCH_ITEMS):
        batch = missing[start : start + BATCH_ITEMS]
        store.adopt(source.folder, [records[name] for name in batch])
