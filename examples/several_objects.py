"""Several objects in an image, all of them labelled, and the share of the pixels of each class."""

from pathlib import Path

import numpy as np

import diffumask


def main(folder: Path, model: str = "tiny", n: int = 8, steps: int | None = None) -> None:
    """Make images of a cat beside something else, and count what their masks show."""
    pets = diffumask.generate(
        classes=["cat"],
        objects=2,
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder,
    )
    names = {class_id: name for name, class_id in pets.classes.items()}
    for item in pets:
        ids, counts = np.unique(item.mask, return_counts=True)
        shown = {
            names[int(one)]: f"{count / item.mask.size:.0%}"
            for one, count in zip(ids, counts, strict=True)
            if one in names
        }
        print(item.prompt, shown)
    print(f"open {pets.show()} in a browser")


if __name__ == "__main__":
    main(Path("pets"))
