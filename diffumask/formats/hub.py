"""Hugging Face `datasets`: parquet with the images in it, id2label.json and a dataset card."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from diffumask import extra
from diffumask.dataset.encode import encode_class_map
from diffumask.types import BACKGROUND, BACKGROUND_ID

from .hub_card import Written, hub_card
from .items import SPLITS, TRAIN, VAL, ExportItem, Selection

SHARD_ITEMS = 1_000
SHARD_BYTES = 300_000_000
GROUP_ITEMS = 100  # what a reader of a single item has to read
SPLIT_NAMES = {TRAIN: "train", VAL: "validation"}
TEXTS = ("prompt", "class", "sub_class", "context")


def write_hub(
    selection: Selection,
    folder: Path,
    instances: bool,
    place: str = "FOLDER",
    licence: str | None = None,
) -> list[str]:
    """Write parquet shards of at most 1,000 items or about 300 MB, each split apart, and a card.

    `place` is what the card loads the dataset from, a `licence` of None is not known.
    """
    datasets, parquet = extra.load("datasets"), extra.load("pyarrow.parquet")
    score_names = sorted({name for one in selection.records() for name in one.scores})
    features = _features(datasets, score_names)
    (folder / "data").mkdir()
    shown: Counter[int] = Counter()
    sizes: dict[str, tuple[int, int]] = {}

    def write(rows: list[dict[str, Any]], split: str, shard: int) -> None:
        columns = {name: [row[name] for row in rows] for name in features}
        table = datasets.Dataset.from_dict(columns, features=features).data.table
        name = SPLIT_NAMES[split]
        path = folder / "data" / f"{name}-{shard:05d}.parquet"
        parquet.write_table(table, path, row_group_size=GROUP_ITEMS)
        n, n_bytes = sizes.get(name, (0, 0))
        sizes[name] = n + len(rows), n_bytes + table.nbytes

    for split in SPLITS:
        rows: list[dict[str, Any]] = []
        n_bytes = shard = 0
        for item in selection.items(split):
            shown.update(np.unique(item.pair.class_map).tolist())
            rows.append(_row(item, score_names))
            n_bytes += len(rows[-1]["image"]["bytes"])
            if len(rows) == SHARD_ITEMS or n_bytes >= SHARD_BYTES:
                write(rows, split, shard)
                rows, n_bytes, shard = [], 0, shard + 1
        if rows:
            write(rows, split, shard)
    _write_labels(selection, folder)
    download = sum(path.stat().st_size for path in (folder / "data").iterdir())
    card = hub_card(selection, Written(features, sizes, download, shown), place, licence)
    (folder / "README.md").write_text(card, "utf-8")
    return []


def _features(datasets: Any, score_names: list[str]) -> Any:
    text, number = datasets.Value("string"), datasets.Value("float64")
    columns: dict[str, Any] = {
        "name": text,
        "image": datasets.Image(),
        "mask": datasets.Image(),
        **dict.fromkeys(TEXTS, text),
        "class_id": datasets.Value("int64"),
        "seed": datasets.Value("int64"),
    }
    if score_names:  # parquet has no structure without fields
        columns["scores"] = dict.fromkeys(score_names, number)
    return datasets.Features({**columns, "metadata": text})


def _row(item: ExportItem, score_names: list[str]) -> dict[str, Any]:
    record = item.record.to_json()
    file_name = f"{item.name}.png"
    return {
        "name": item.name,
        "image": {"bytes": item.image_file.read_bytes(), "path": file_name},
        "mask": {"bytes": encode_class_map(item.pair.class_map), "path": file_name},
        **{key: record[key] for key in (*TEXTS, "class_id", "seed")},
        "scores": {name: item.record.scores.get(name) for name in score_names},
        "metadata": json.dumps(record, ensure_ascii=False),
    }


def _write_labels(selection: Selection, folder: Path) -> None:
    named = {class_id: name for name, class_id in selection.class_ids.items()}
    labels = {BACKGROUND_ID: BACKGROUND, **named}
    content = json.dumps(labels, ensure_ascii=False, indent=2) + "\n"
    (folder / "id2label.json").write_text(content, "utf-8")
