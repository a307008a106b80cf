"""Small folders in the layouts of known datasets: two non-square images, with masks as given."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from diffumask.draw import voc_palette

SIZE_HW = (5, 8)


def write_image(path, size_hw=SIZE_HW):
    """Write an image of noise, by its suffix as PNG or JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(256, size=(*size_hw, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(path)


def write_mask(path, values, palette=False):
    """Write values as 8-bit PNG, grey or with the colours of VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PillowImage.fromarray(np.asarray(values, np.uint8))
    if palette:
        picture.putpalette(voc_palette().tobytes())
    picture.save(path)


def filled(value, size_hw=SIZE_HW):
    """A mask with one value above and 255 in its last row."""
    values = np.full(size_hw, value, np.uint8)
    values[-1] = 255
    return values


def plain(folder, one, two, images="images", masks="masks"):
    for name, values in (("a", one), ("b", two)):
        write_image(folder / images / f"{name}.jpg", np.shape(values))
        write_mask(folder / masks / f"{name}.png", values)
    return folder


def voc(folder, one, two):
    for name, values in (("2007_000001", one), ("2008_000002", two)):
        write_image(folder / "JPEGImages" / f"{name}.jpg")
        write_mask(folder / "SegmentationClass" / f"{name}.png", values, palette=True)
    write_image(folder / "JPEGImages" / "2009_000003.jpg")  # most images have no mask
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000001\n")
    (lists / "val.txt").write_text("2008_000002\n")
    return folder


def cityscapes(folder, one, two, kind="labelIds"):
    for split, city, values in (("train", "aachen", one), ("val", "ulm", two)):
        name = f"{city}_000000_000019"
        write_image(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        truth = folder / "gtFine" / split / city
        write_mask(truth / f"{name}_gtFine_{kind}.png", values)
        write_mask(truth / f"{name}_gtFine_instanceIds.png", np.zeros(SIZE_HW))
    return folder


def ade20k(folder, one, two):
    for split, name, values in (("training", "train_1", one), ("validation", "val_1", two)):
        write_image(folder / "images" / split / f"ADE_{name}.jpg")
        write_mask(folder / "annotations" / split / f"ADE_{name}.png", values)
    return folder


def oxford_pets(folder, one, two):
    for name, values in (("Bengal_1", one), ("beagle_2", two)):
        write_image(folder / "images" / f"{name}.jpg")
        write_mask(folder / "annotations" / "trimaps" / f"{name}.png", values)
    (folder / "annotations" / "trimaps" / "._Bengal_1.png").write_bytes(b"of macOS")
    (folder / "annotations" / "trainval.txt").write_text("# name id\nBengal_1 6 1 2\n")
    (folder / "annotations" / "test.txt").write_text("beagle_2 5 2 1\n")
    return folder


def camvid(folder, one, two):
    for split, name, values in (("train", "0001TP_1", one), ("val", "0016E5_2", two)):
        write_image(folder / split / f"{name}.png")
        write_mask(folder / f"{split}annot" / f"{name}.png", values)
    return folder


def native(folder, one, two):
    run = {"format": 1, "settings": {}, "classes": {"bird": 3, "cat": 8}, "runs": []}
    lines = []
    for name, values in (("Bird_000000", one), ("Cat_000001", two)):
        write_image(folder / "images" / f"{name}.png")
        write_mask(folder / "masks" / f"{name}.png", values, palette=True)
        lines.append(json.dumps(ITEM | {"file_name": f"images/{name}.png"}) + "\n")
    write_image(folder / "images" / "Cat_000002.png")  # an item that is not finished
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


ITEM = {
    **{"prompt": "a bird", "class": "bird", "class_id": 3, "sub_class": "", "context": ""},
    **{"targets": [{"word": "bird", "class": "bird", "class_id": 3}], "seed": 0, "scores": {}},
}


def files(folder: Path) -> dict[Path, bytes]:
    """The content of every file, to see that none changed."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
