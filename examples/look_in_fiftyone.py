"""A dataset in FiftyOne, with masks, prompts and scores to filter by.

pip install fiftyone
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffumask


def main(folder: Path, model: str = "tiny", n: int = 20, steps: int | None = None) -> Path:
    """Make a dataset, and return its folder."""
    cats = diffumask.generate(
        classes=["cat", "flower"],
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder / "native",
    )
    return cats.folder


def import_dataset(folder: Path) -> Any:
    """Return a dataset of FiftyOne, whose app shows masks by the names of their classes.

    Masks are exported in grey, as OpenCV would turn palettes into colours.
    """
    fiftyone = import_module("fiftyone")
    source, exported = diffumask.open_dataset(folder), folder.parent / "png"
    if not exported.exists():
        source.export("png", exported, png_mode="L")
    dataset = fiftyone.Dataset(f"diffumask-{folder.parent.name}", overwrite=True)
    names = {class_id: name for name, class_id in source.classes.items()}
    dataset.default_mask_targets = {**names, 255: "unsure"}
    samples = []
    for item in source:
        sample = fiftyone.Sample(filepath=str(exported.resolve() / f"images/{item.name}.png"))
        mask = exported.resolve() / f"masks/{item.name}.png"
        sample["mask"] = fiftyone.Segmentation(mask_path=str(mask))
        sample["prompt"] = item.prompt
        sample["scores"] = dict(item.scores)
        samples.append(sample)
    dataset.add_samples(samples)
    return dataset


if __name__ == "__main__":
    made = main(Path("flowers"))
    if find_spec("fiftyone"):
        import_module("fiftyone").launch_app(import_dataset(made)).wait()
    else:
        print("pip install fiftyone, and run this again to look at it")
