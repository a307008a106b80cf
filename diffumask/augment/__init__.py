"""Augmentation of labelled images: image and class map together, seeded, numpy and OpenCV only.

`diffumask.augment.compose` makes one item, `diffumask.augment.folder` a dataset folder and
`diffumask.augment.dataset` a torch `Dataset` that augments while it is read.
"""
