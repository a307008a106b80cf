"""What datumaro writes as CVAT and COCO, masks, polygons and boxes, as import reads it."""

from importlib import import_module

import numpy as np
import pytest
from formats_data import dataset
from readers_data import CLASSES, scenes

from diffumask.dataset.dataset import Dataset
from diffumask.formats.archive import open_archive
from diffumask.formats.corrected import Originals
from diffumask.formats.registry import reader

SQUARE = [2, 1, 6, 1, 6, 3, 2, 3]
LABELS = [*CLASSES, "ignore"]


def drawn(datumaro, name, class_map):
    """An item with a mask for each class, a polygon above them, and a box."""
    regions = [
        datumaro.Mask(class_map == value, label=LABELS.index(label), z_order=0)
        for label, value in [*CLASSES.items(), ("ignore", 255)]
        if (class_map == value).any()
    ]
    regions.append(datumaro.Polygon(SQUARE, label=LABELS.index("cat"), z_order=1))
    regions.append(datumaro.Bbox(1, 1, 5, 5, label=0))
    media = import_module("datumaro.components.media")
    image = media.Image.from_numpy(data=np.zeros((*class_map.shape, 3), np.uint8))
    return datumaro.DatasetItem(id=name, media=image, annotations=regions)


@pytest.mark.parametrize(
    ("format_name", "written_as"), [("cvat", "cvat"), ("coco", "coco_instances")]
)
def test_what_datumaro_writes_is_read_pixel_by_pixel(tmp_path, datumaro, format_name, written_as):
    empty = {name: np.zeros_like(one) for name, one in scenes().items()}
    data = dataset(tmp_path / "data", empty, CLASSES)
    items = [drawn(datumaro, name, one) for name, one in scenes().items()]
    written = datumaro.Dataset.from_iterable(items, categories=LABELS)
    written.export(str(tmp_path / "out"), written_as)
    with open_archive(tmp_path / "out") as archive:
        originals = Originals(Dataset.open(data).require_items())
        found = dict(reader(format_name)(archive, originals))
    assert set(found) == set(scenes())
    assert originals.left_out == {"boxes": len(items)}
    for name, class_map in scenes().items():
        wanted = class_map.copy()
        wanted[1:3, 2:6] = CLASSES["cat"]
        assert np.array_equal(found[name], wanted)
