"""supervision reads YOLO, COCO and VOC."""

import numpy as np
from readers_data import CLASSES, boxes, exported, same_boxes, scenes, shown


def test_supervision_reads_yolo(tmp_path, supervision):
    out = exported(tmp_path, "yolo", share=1.0)
    arguments = (out / "images/train", out / "labels/train", out / "data.yaml")
    read = supervision.DetectionDataset.from_yolo(*map(str, arguments), force_masks=True)
    assert read.classes == list(CLASSES)
    for path, _, found in read:
        wanted = shown(scenes()[path.rpartition("/")[2].removesuffix(".png")])
        drawn = np.zeros_like(wanted)
        for mask, index in zip(found.mask if len(found) else (), found.class_id, strict=True):
            drawn[mask] = list(CLASSES.values())[index]
        assert np.count_nonzero(drawn != wanted) <= 0.01 * wanted.size
        assert not drawn[drawn != wanted].any()


def test_supervision_reads_the_boxes_of_yolo_coco_and_voc(tmp_path, supervision):
    indices = {class_id: i for i, class_id in enumerate(CLASSES.values())}
    reads = {
        "yolo-detect": lambda out: supervision.DetectionDataset.from_yolo(
            str(out / "images/train"), str(out / "labels/train"), str(out / "data.yaml")
        ),
        "coco": lambda out: supervision.DetectionDataset.from_coco(
            str(out / "images"), str(out / "annotations/instances_train.json"), force_masks=True
        ),
        "voc": lambda out: supervision.DetectionDataset.from_pascal_voc(
            str(out / "JPEGImages"), str(out / "Annotations")
        ),
    }
    for name, read in reads.items():
        dataset = read(exported(tmp_path / name, name, instances=True, share=1.0))
        assert len(dataset) == len(scenes())
        ids = {i: list(CLASSES).index(label) for i, label in enumerate(dataset.classes)}
        for path, _, found in dataset:
            stem = path.rpartition("/")[2].rpartition(".")[0]
            classes = [ids[i] for i in found.class_id]
            rows = np.column_stack([classes, found.xyxy])
            same_boxes(rows, boxes(scenes()[stem], True, indices))
