"""What the values in the masks of known datasets stand for, as their authors publish it.

Sources: the VOC 2012 development kit; labels.py of cityscapesScripts; the ADE20K scene parsing
benchmark; the README of Oxford-IIIT Pet; the 11 classes of CamVid as SegNet uses them.
"""

from .mapping import MaskValues

VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
CITYSCAPES_NAMES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
CAMVID_NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)
NONE: frozenset[int] = frozenset()

VOC = MaskValues(dict(enumerate(VOC_NAMES, 1)))
CITYSCAPES_LABEL_IDS = MaskValues(
    CITYSCAPES_NAMES, NONE, frozenset(range(34)) - set(CITYSCAPES_NAMES)
)
CITYSCAPES_TRAIN_IDS = MaskValues(dict(enumerate(CITYSCAPES_NAMES.values())), NONE)
ADE20K = MaskValues(None, NONE, frozenset({0}))  # 1..150; 0 is what has no label
OXFORD_PETS = MaskValues({1: "pet"}, frozenset({2}), frozenset({3}))
CAMVID = MaskValues(dict(enumerate(CAMVID_NAMES)), NONE, frozenset({len(CAMVID_NAMES)}))
