"""Export to YOLO and train ultralytics on it.

    pip install ultralytics

ultralytics is under AGPL-3.0, and downloads the weights that it starts from.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import diffumask


def main(folder: Path, model: str = "tiny", n: int = 20, steps: int | None = None) -> Path:
    """Make a dataset, export it as polygons, and return the file that YOLO trains by."""
    cars = diffumask.generate(
        classes=["car", "cat"],
        model=model,
        n=n,
        num_inference_steps=steps,
        out=folder / "native",
    )
    exported = folder / "yolo"
    if not exported.exists():
        cars.export("yolo", exported, stratified=True, instances=True)
    print(f"{len(cars)} items in {exported}")
    return exported / "data.yaml"


def train(data: Path, epochs: int = 20) -> None:
    """Train a small segmentation network on an export."""
    network = import_module("ultralytics").YOLO("yolo11n-seg.pt")
    network.train(data=str(data.resolve()), epochs=epochs, imgsz=128)


if __name__ == "__main__":
    data = main(Path("cars"))
    if find_spec("ultralytics"):
        train(data)
    else:
        print("pip install ultralytics, and run this again to train")
