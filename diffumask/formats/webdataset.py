"""WebDataset: tar shards with KEY.png, KEY.seg.png and KEY.json for each item."""

import json
from pathlib import Path

from diffumask import extra
from diffumask.dataset.encode import encode_class_map

from .items import SPLITS, Selection
from .plain import write_classes

SHARD_ITEMS = 5_000
SHARD_BYTES = 300_000_000


def write_webdataset(selection: Selection, folder: Path, instances: bool) -> list[str]:
    """Write shards of at most 5,000 items or about 300 MB, each split apart."""
    webdataset = extra.load("webdataset")
    write_classes(selection, folder)
    for split in SPLITS:
        if not selection.positions[split]:
            continue  # the writer would leave an empty tar
        pattern = f"{folder.resolve()}/".replace("%", "%%") + f"{split}-%06d.tar"
        with webdataset.ShardWriter(
            pattern, maxcount=SHARD_ITEMS, maxsize=SHARD_BYTES, verbose=0, mtime=0
        ) as shards:
            for item in selection.items(split):
                shards.write(
                    {
                        "__key__": item.name,
                        "png": item.image_file.read_bytes(),
                        "seg.png": encode_class_map(item.pair.class_map),
                        "json": json.dumps(item.record.to_json(), ensure_ascii=False).encode(),
                    }
                )
    return []
