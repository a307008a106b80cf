"""A dataset on the hub of Hugging Face, by `datasets` itself.

    pip install 'diffumask[export]'
    hf auth login
    python push_to_hub.py OWNER/NAME

`diffumask upload FOLDER hf://datasets/OWNER/NAME` does the same in one commit, with a full card.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

import diffumask


def main(folder: Path, model: str = "tiny", n: int = 20, steps: int | None = None) -> Any:
    """Make a dataset, and return it as `datasets` loads it."""
    mushrooms = diffumask.generate(
        classes=["mushroom"],
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder / "native",
    )
    exported = folder / "hf"
    if not exported.exists():
        mushrooms.export("hf", exported)
    load = import_module("datasets").load_dataset
    return load(str(exported), cache_dir=str(folder / "cache"))


def push(dataset: Any, name: str) -> None:
    """Send it as a private repository, which you may open to others on the hub's site."""
    dataset.push_to_hub(name, private=True)


if __name__ == "__main__":
    rows = main(Path("mushrooms"))
    print(rows)
    if len(sys.argv) == 2 and get_token():
        push(rows, sys.argv[1])
    else:
        print("log in by hf auth login, and name a repository as OWNER/NAME, to send it")
