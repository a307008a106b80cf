"""A class of your own: a vocabulary in TOML gives it an id, its words and its places.

A model that knows all words (sd15, ...) needs none of this: classes=["Eiffel Tower"] will do.
"""

from pathlib import Path

import diffumask

# Phrases that the model in the package knows; "photo" are those for models of photographs.
VOCABULARY = """
templates = "tiny"
contexts = ["on grass", "on sand", "on snow"]

[classes.toadstool]
id = 1
word = "toadstool mushroom"
synonyms = ["fly agaric"]

[classes.taxi]
id = 2
word = "taxi car"
contexts = ["on sand", "by a brick wall"]
"""


def main(folder: Path, model: str = "tiny", n: int = 8, steps: int | None = None) -> None:
    """Make images of two classes that no shipped vocabulary has."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "mine.toml"
    vocabulary.write_text(VOCABULARY, "utf-8")
    for known in diffumask.list_classes(vocabulary=vocabulary.as_posix()):
        print(known.class_id, known.name, *known.other_names)
    found = diffumask.generate(
        classes=["fly agaric", "taxi"],
        vocabulary=vocabulary.as_posix(),
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder / "images",
    )
    print(
        f"{len(found)} items, classes {dict(found.classes)}; look at {found.folder / 'preview.jpg'}"
    )


if __name__ == "__main__":
    main(Path("mine"))
