"""Hugging Face `datasets`: parquet with the images in it, id2label.json and a dataset card."""

import json
from pathlib import Path
from typing import Any

from diffumask import extra
from diffumask.dataset.encode import encode_class_map
from diffumask.types import BACKGROUND, BACKGROUND_ID

from .items import SPLITS, TRAIN, VAL, ExportItem, Selection

SHARD_ITEMS = 1_000
SHARD_BYTES = 300_000_000
GROUP_ITEMS = 100  # what a reader of a single item has to read
SPLIT_NAMES = {TRAIN: "train", VAL: "validation"}
TEXTS = ("prompt", "class", "sub_class", "context")
CARD = """---
task_categories:
- image-segmentation
tags:
- synthetic
configs:
- config_name: default
  data_files:
{data_files}
---

# {n} images with pixel masks, made by diffumask

`mask` is a palette PNG whose indices are class ids (`id2label.json`): 0 is background, 255 is
ignored. Take the indices as they are (`numpy.array(row["mask"])`), never as colours.

| id | class |
|---|---|
{classes}

`metadata` is the record of the item as JSON: prompt, seed, model, settings and scores.

```python
from datasets import load_dataset

rows = load_dataset(folder, split="train")
rows[0]["image"], rows[0]["mask"], rows[0]["prompt"]
```
"""


def write_hub(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write parquet shards of at most 1,000 items or about 300 MB, each split apart."""
    datasets, parquet = extra.load("datasets"), extra.load("pyarrow.parquet")
    score_names = sorted({name for one in selection.records() for name in one.scores})
    features = _features(datasets, score_names)
    (folder / "data").mkdir()

    def write(rows: list[dict[str, Any]], split: str, shard: int) -> None:
        columns = {name: [row[name] for row in rows] for name in features}
        table = datasets.Dataset.from_dict(columns, features=features).data.table
        path = folder / "data" / f"{SPLIT_NAMES[split]}-{shard:05d}.parquet"
        parquet.write_table(table, path, row_group_size=GROUP_ITEMS)

    for split in SPLITS:
        rows: list[dict[str, Any]] = []
        n_bytes = shard = 0
        for item in selection.items(split):
            rows.append(_row(item, score_names))
            n_bytes += len(rows[-1]["image"]["bytes"])
            if len(rows) == SHARD_ITEMS or n_bytes >= SHARD_BYTES:
                write(rows, split, shard)
                rows, n_bytes, shard = [], 0, shard + 1
        if rows:
            write(rows, split, shard)
    _write_card(selection, folder)
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


def _write_card(selection: Selection, folder: Path) -> None:
    named = {class_id: name for name, class_id in selection.class_ids.items()}
    labels = {BACKGROUND_ID: BACKGROUND, **named}
    content = json.dumps(labels, ensure_ascii=False, indent=2) + "\n"
    (folder / "id2label.json").write_text(content, "utf-8")
    data_files = [
        f"  - split: {SPLIT_NAMES[split]}\n    path: data/{SPLIT_NAMES[split]}-*"
        for split in SPLITS
        if selection.positions[split]
    ]
    cells = [
        f"| {class_id} | {' '.join(name.split()).replace('|', chr(92) + '|')} |"
        for class_id, name in labels.items()
    ]
    card = CARD.format(data_files="\n".join(data_files), n=len(selection), classes="\n".join(cells))
    (folder / "README.md").write_text(card, "utf-8")
