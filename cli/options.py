"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

PromptClasses = Annotated[
    list[str] | None,
    typer.Option("--class", help="Class of the images, any words; repeat.", show_default="none"),
]
VocabularyName = Annotated[
    str | None,
    typer.Option(
        help="tiny, voc, cityscapes, ade20k or a TOML file.", show_default="tiny for tiny, else voc"
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(help="Prompts of your own (.txt, .csv, .jsonl).", show_default="built"),
]
CaptionFile = Annotated[
    Path | None,
    typer.Option(help="Captions to choose prompts from (.txt).", show_default="built"),
]
CaptionRanking = Annotated[
    str, typer.Option(help="What tells captions that are alike: text, or clip:FOLDER of a CLIP.")
]
Objects = Annotated[int, typer.Option(help="Labelled objects in a prompt, of as many classes.")]
OpenAll = Annotated[
    bool, typer.Option("--open", help="Take an unknown class as typed, however like a known one.")
]
Threshold = Annotated[
    str,
    typer.Option(help="auto, otsu, adaptive, a number in [0, 1), or a file of calibrate (.json)."),
]
Refiner = Annotated[
    str,
    typer.Option(help="auto, none, crf, crf-wide, guided, pamr, sam:FOLDER."),
]
Affinity = Annotated[str, typer.Option(help="none, self-attention or a folder of affinity train.")]
HeatMap = Annotated[
    str,
    typer.Option(help="Which heat has the threshold: attention, or affinity after propagation."),
]
UncertainBand = Annotated[
    float | None,
    typer.Option(help="Heat by which a threshold may be off; 0 labels all.", show_default="0.02"),
]
MaskSourceName = Annotated[
    str,
    typer.Option(
        "--mask-source",
        help="attention, segmentator, both (fused), clipseg:FOLDER, sam:FOLDER, sam2:FOLDER.",
    ),
]
SegmentatorFile = Annotated[
    Path | None,
    typer.Option(
        "--segmentator", help="Head of segmentator train (.safetensors).", show_default="none"
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        help="auto, native, voc, cityscapes, oxford-pets, ade20k, camvid, plain, coco, hf."
    ),
]
ClassIds = Annotated[
    str | None,
    typer.Option(
        "--vocabulary",
        help='Class ids: a vocabulary, its TOML, or JSON such as {"bird": 3}.',
        show_default="those of the data",
    ),
]
LearnedClasses = Annotated[
    list[str] | None,
    typer.Option("--class", help="Class to learn; repeat.", show_default="all"),
]
IgnoreValues = Annotated[
    list[int] | None,
    typer.Option("--ignore-value", help="Further value of the masks that is as 255; repeat."),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Value of the masks and the id it is read as, such as 255=1; repeat.",
        show_default="none",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="Instead: folder of images, whose masks are in --masks.", show_default="none"
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option(help="Folder of masks (PNG) or COCO file (.json).", show_default="none"),
]
