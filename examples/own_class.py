"""A class of your own: a vocabulary in TOML gives it an id, its words and its places.

A model that knows all words (sd15, ...) needs none of this: classes=["Eiffel Tower"] will do.
"""

from pathlib import Path

import diffumask

VOCABULARY = """
templates = "photo"

[classes.rooster]
id = 1
synonyms = ["cock"]
contexts = ["on grass", "on sand", "in the snow"]

[classes.sunflower]
id = 2
contexts = ["on grass", "on a street"]
attributes = ["tall"]
"""


def main(folder: Path, model: str = "tiny", n: int = 8, steps: int | None = None) -> None:
    """Make images of two classes that no shipped vocabulary has."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "farm.toml"
    vocabulary.write_text(VOCABULARY, "utf-8")
    for known in diffumask.list_classes(vocabulary=vocabulary.as_posix()):
        print(known.class_id, known.name, *known.other_names)
    farm = diffumask.generate(
        classes=["cock", "sunflower"],
        vocabulary=vocabulary.as_posix(),
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder / "images",
    )
    print(f"{len(farm)} items, classes {dict(farm.classes)}; look at {farm.folder / 'preview.jpg'}")


if __name__ == "__main__":
    main(Path("farm"))
