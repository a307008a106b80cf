"""The dataset card of an export for the hub: what is in it, how it was made, what licences hold."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask import extra
from diffumask.articles import counted
from diffumask.files.inside import read_inside
from diffumask.files.toml import to_toml
from diffumask.models import HUB_ID, MODELS
from diffumask.types import BACKGROUND, BACKGROUND_ID

from .items import Selection

UNKNOWN_LICENCE = "unknown"  # as the hub names it
CONFIG_FILE = "config.toml"
CONFIG_HEAD = re.compile(r"# Options of diffumask ([a-z ]+): ")
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
LARGEST = "n>1M"
VERSIONS = ("diffumask", "torch", "diffusers", "transformers")
MADE_BY = """
The last command was `diffumask {command} --config config.toml`, with

```toml
{options}```
"""
BODY = """
# {name}: {images} with pixel masks

`mask` is a palette PNG whose indices are class ids (`id2label.json`): 0 is background, 255 is
ignored. Take the indices as they are (`numpy.array(row["mask"])`), never as colours. `metadata` is
the record of the item as JSON: prompt, seed, model, settings and scores.

```python
from datasets import load_dataset

rows = load_dataset("{place}", split="{split}")
rows[0]["image"], rows[0]["mask"], rows[0]["prompt"]
```

## Classes

| id | class | images made for it | images that show it |
|---|---|---|---|
{classes}

## How it was made

By diffumask: a text-to-image model draws an image of each prompt, and the mask comes from the
model's own cross-attention to the words. {versions}
{command}
What items depend on, from `run.json`:

```json
{settings}
```

## Licences

{licences}

## Known limits

- Nobody drew these masks: their borders are those of a model, but where `metadata` has
  `"mask_source": "corrected"`.
- {no_mask} of the items ({n}) lack the mask of an object that their prompt names.
- 255 marks pixels where the mask hangs on the threshold. They are neither object nor background.
- What a prompt does not name is background, also where the model drew it.
- Images show the world as the model learned it, with its faults and biases. Judge a network that
  was trained on them on real images with masks drawn by people.
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: rows and bytes of each split, their features, and the bytes of all files.

    `shown` counts the images whose mask has a class, by its id.
    """

    features: Any
    splits: Mapping[str, tuple[int, int]]
    download_bytes: int
    shown: Mapping[int, int]


def hub_card(selection: Selection, written: Written, place: str, licence: str | None) -> str:
    """Write the card; `place` is what `load_dataset` is called with.

    A licence of None is not known. Raises InputError without the libraries of the extra `export`.
    """
    run, records = selection.source.run, selection.records()
    name = selection.source.folder.resolve().name
    body = BODY.format(
        name=_cell(name),
        images=counted(len(selection), "image"),
        n=len(selection),
        place=place,
        split=next(iter(written.splits)),
        classes="\n".join(_class_rows(selection, written.shown)),
        versions=_versions(run.runs),
        command=_command(selection.source.folder),
        settings=json.dumps(dict(run.settings), indent=2, ensure_ascii=False),
        licences=_licences(run.settings, licence),
        no_mask=sum(not record.is_usable for record in records),
    )
    return f"---\n{_data(name, len(selection), written, licence)}---\n{body}"


def _data(name: str, n: int, written: Written, licence: str | None) -> str:
    """Return the YAML of the card, which `datasets` reads the splits and features from."""
    from huggingface_hub import DatasetCardData

    datasets = extra.load("datasets")
    splits = datasets.SplitDict()
    for split, (rows, size) in written.splits.items():
        splits.add(datasets.SplitInfo(name=split, num_bytes=size, num_examples=rows))
    info = datasets.DatasetInfo(
        features=written.features,
        splits=splits,
        download_size=written.download_bytes,
        dataset_size=sum(size for _, size in written.splits.values()),
    )
    card = DatasetCardData(
        license=licence or UNKNOWN_LICENCE,
        pretty_name=name,
        annotations_creators=["machine-generated"],
        size_categories=[next((of for size, of in SIZES.items() if n < size), LARGEST)],
        source_datasets=["original"],
        task_categories=["image-segmentation"],
        task_ids=["semantic-segmentation"],
        tags=["synthetic", "diffumask"],
    )
    files = [{"split": split, "path": f"data/{split}-*"} for split in written.splits]
    configs = extra.load("datasets.utils.metadata").MetadataConfigs(default={"data_files": files})
    configs.to_dataset_card_data(card)
    extra.load("datasets.info").DatasetInfosDict(default=info).to_dataset_card_data(card)
    return f"{card.to_yaml()}\n"


def _class_rows(selection: Selection, shown: Mapping[int, int]) -> list[str]:
    made = [record.class_name for record in selection.records()]
    rows = [(BACKGROUND_ID, BACKGROUND, "")]
    rows += [(class_id, name, made.count(name)) for name, class_id in selection.class_ids.items()]
    return [
        f"| {class_id} | {_cell(name)} | {count} | {shown.get(class_id, 0)} |"
        for class_id, name, count in rows
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _versions(runs: tuple[Mapping[str, Any], ...]) -> str:
    told = next((notes["versions"] for notes in reversed(runs) if "versions" in notes), {})
    known = told if isinstance(told, dict) else {}
    named = ", ".join(f"{_cell(str(known[one]))} of {one}" for one in VERSIONS if one in known)
    return f"Versions: {named}." if named else ""


def _command(folder: Path) -> str:
    """Return the command and its options, where the folder keeps them, without the user's paths."""
    try:
        text = read_inside(folder, CONFIG_FILE).decode()
        head = CONFIG_HEAD.match(text)
        options = to_toml({key: _public(value) for key, value in tomllib.loads(text).items()})
    except (OSError, ValueError, TypeError, RecursionError):  # InputError is a ValueError
        return ""
    if head is None:
        return ""
    return MADE_BY.format(command=head[1], options=options)


def _public(value: Any) -> Any:
    """Return an option without the folders above a file of the user's."""
    if isinstance(value, list):
        return [_public(one) for one in value]
    is_path = isinstance(value, str) and ("/" in value or "\\" in value)
    return Path(value).name if is_path and not HUB_ID.fullmatch(value) else value


def _licences(settings: Mapping[str, Any], licence: str | None) -> str:
    own = f"The dataset: {licence}." if licence else "The licence of the dataset was not told."
    name = settings.get("model")
    if name is None:
        return f"- {own}"
    mark = settings.get("checkpoint", "none told")
    line = f"- The model: `{_cell(name)}`, checkpoint {mark}."
    if name not in MODELS:
        return f"- {own}\n{line} Its licence is not known to diffumask: read its own card."
    spec = MODELS[name]
    source = "ships with diffumask" if isinstance(spec.source, Path) else f"is `{spec.source}`"
    line += f" The model of this name {source} ({spec.about}), under {spec.licence}."
    if "RAIL" in spec.licence:
        line += " What that forbids to do with the model it forbids to do with its images too."
    return f"- {own}\n{line}"
