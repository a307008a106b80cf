"""Whatever is in a file of others, a reader gives a result or says in one line what is wrong."""

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from broken_content import broken
from formats_data import class_maps, dataset
from hypothesis import HealthCheck, given, settings
from PIL import Image

from diffumask.affinity_net.checkpoint import AffinityNet, Facts, load, save
from diffumask.affinity_net.network import AffinityNetwork, NetworkConfig
from diffumask.api.labelled_options import read_classes
from diffumask.api.list_prompts import PromptsOptions
from diffumask.api.option import option_fields
from diffumask.api.show import show
from diffumask.calibration.file import read_thresholds
from diffumask.cli.config_file import read_config
from diffumask.dataset.annotate import annotate
from diffumask.dataset.dataset import Dataset
from diffumask.dataset.decode import read_image
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import read_maps
from diffumask.dataset.merge import merged_run, missing_shards
from diffumask.dataset.run import read_run
from diffumask.dataset.verify import repair, verify
from diffumask.errors import InputError
from diffumask.formats.archive import open_archive
from diffumask.formats.brush import encode_mask
from diffumask.formats.corrected import Originals
from diffumask.formats.hub import write_hub
from diffumask.formats.items import select
from diffumask.formats.registry import reader
from diffumask.gallery.marks import dataset_fingerprint, read_marks
from diffumask.labelled.folder import open_labelled
from diffumask.labelled.names import values_beside
from diffumask.labelled.pixels import read_image as read_any_image
from diffumask.labelled.pixels import read_indices
from diffumask.lora.captioned import read_captioned
from diffumask.lora.file import read_lora
from diffumask.noise.cutoffs import read_cut_offs
from diffumask.noise.items import summarize_masks
from diffumask.prompts.captions import read_captions
from diffumask.prompts.classes import Classes
from diffumask.prompts.file import read_prompts
from diffumask.prompts.vocabulary import load_vocabulary
from diffumask.segmentator.facts import read_facts

CORPUS = Path(__file__).parent / "corpus"
BIRD = "Bird_000001"
# As many as a person asks for, of other content each time; else a few that are always the same.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
few = settings(
    max_examples=EXAMPLES or 12,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True, slots=True)
class Reader:
    """The file that is broken, below a folder, what it holds when whole, and what reads it."""

    path: str
    valid: Callable[[Path], bytes]
    read: Callable[[Path], object]


def of_file(path: str) -> Callable[[Path], bytes]:
    return lambda folder: (folder / path).read_bytes()


def always(content: bytes | str | dict[str, Any]) -> Callable[[Path], bytes]:
    text = json.dumps(content) if isinstance(content, dict) else content
    return lambda folder: text.encode() if isinstance(text, str) else text


def read_dataset(folder: Path) -> None:
    """Do what commands do with a dataset before they make something of it."""
    records = read_records(folder)
    source = None
    with suppress(InputError):
        source = Dataset.open(folder, with_dropped=True).require_items()
        source.check()
    with suppress(InputError):
        summarize_masks(source or Dataset.open(folder).require_items())
    verdicts = {one.name: {"verdict": "kept"} for one in records}
    steps: list[Callable[[], object]] = [
        lambda: verify(folder),
        lambda: [read_image(folder, one) for one in records],
        lambda: annotate(folder, verdicts),
        lambda: show(folder=folder, out=folder.with_name("page.html")),
        lambda: missing_shards([folder]),
        lambda: merged_run([folder, folder]),
        lambda: repair(folder),
        lambda: verify(folder),
    ]
    for step in steps:
        with suppress(InputError):
            step()


def corrected(name: str, file: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        originals = Originals(Dataset.open(folder, with_dropped=True).require_items())
        with open_archive(folder / file) as archive:
            return list(reader(name)(archive, originals))

    return read


def read_labelled(layout: str) -> Callable[[Path], object]:
    return lambda folder: list(open_labelled(folder, layout))


def png(folder: Path) -> bytes:
    return (folder / f"masks/{BIRD}.png").read_bytes()


def tensors(name: str, **metadata: str) -> bytes:
    return safetensors.numpy.save({name: np.full((2, 3), 9, np.uint8)}, metadata or None)


CURVE = {"thresholds": [0.1, 0.5], "iou": [0.2, 0.6]}
FIGURES = {"threshold": 0.4, "low": 0.3, "high": 0.5, "iou": 0.7, "default_iou": 0.6}
FIGURES |= {"n": 9, "left_out": 1}
THRESHOLDS = {
    **{"format": 2, "model": "tiny", "checkpoint": "0" * 16, "merge": "mean"},
    **{"weights": {"8": 0.5}, "power": 2, "heat": "attention", "refiner": "crf"},
    **{"uncertain_band": 0.02, "reference": "masks"},
    "classes": {"bird": {**FIGURES, "curve": CURVE}},
}
HEAD = {
    **{"format": "diffumask-segmentator-1", "design": "linear", "model": "tiny", "side": 64},
    **{"labels": {"ids": [0, 3], "names": ["background", "bird"]}, "vae_fingerprint": "0" * 16},
    "training": {"images": 2},
}
COCO = {
    "images": [{"id": 1, "file_name": f"{BIRD}.png", "height": 6, "width": 9}],
    "categories": [{"id": 2, "name": "bird"}],
    "annotations": [
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [6, 9], "counts": [50, 4]}},
        {"image_id": 1, "category_id": 2, "segmentation": [[1, 1, 5, 1, 5, 4]]},
    ],
}
REGION = {
    **{"type": "brushlabels", "original_width": 9, "original_height": 6},
    "value": {"rle": encode_mask(np.eye(6, 9) > 0), "brushlabels": ["bird"]},
}
SHOWN = {**REGION["value"], "original_width": 9, "original_height": 6}
TASKS = {"x": [{"data": {"item": BIRD}, "annotations": [{"updated_at": "1", "result": [REGION]}]}]}
LINES = [{"item": BIRD, "id": 1, "annotation_id": 2, "updated_at": "1", "tag": [SHOWN]}]
CVAT_XML = f"""<annotations><meta><labels><label><name>bird</name></label></labels></meta>
<image name="{BIRD}.png" width="9" height="6">
<mask label="bird" rle="1, 3" left="2" top="3" width="2" height="2" z_order="1"/>
<polygon label="bird" points="1.0,1.0;5.0,1.0;5.0,4.0" z_order="0"/><box label="bird"/>
</image></annotations>"""
VOCABULARY = """[classes.bird]\nid = 3\nsynonyms = ["fowl"]\ncontexts = ["on sand"]\n"""
PROMPT = {"prompt": "a bird", "targets": [{"word": "bird", "class": "bird", "class_id": 3}]}
CAPTION = {"file_name": f"images/{BIRD}.png", "text": "a bird"}
OPTIONS = {field.name: field for field in option_fields(PromptsOptions)}


def read_own_prompts(ending: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        names = ["bird"] if ending == ".txt" else []
        return read_prompts(folder / f"p{ending}", Classes(load_vocabulary("voc")), names)

    return read


def marks(folder: Path) -> bytes:
    told = {"format": 1, "made_by": "diffumask show", "marks": {BIRD: "rejected"}}
    fingerprint = dataset_fingerprint(read_run(folder).settings)
    return json.dumps({**told, "dataset": fingerprint}).encode()


READERS = {
    "metadata": Reader("metadata.jsonl", of_file("metadata.jsonl"), read_dataset),
    "run": Reader("run.json", of_file("run.json"), read_dataset),
    "dataset-mask": Reader(f"masks/{BIRD}.png", png, read_dataset),
    "dataset-image": Reader(f"images/{BIRD}.png", of_file(f"images/{BIRD}.png"), read_dataset),
    "maps": Reader(
        f"maps/{BIRD}.safetensors",
        always(tensors("heat:bird")),
        lambda folder: [read_maps(folder, read_records(folder)[1])],
    ),
    "thresholds": Reader(
        "t.json", always(THRESHOLDS), lambda folder: read_thresholds(folder / "t.json")
    ),
    "marks": Reader("m.json", marks, lambda folder: read_marks(folder / "m.json", folder)),
    "classes": Reader(
        "c.json", always({"bird": 3}), lambda folder: read_classes(str(folder / "c.json"))
    ),
    "cut-offs-json": Reader(
        "k.json", always({"bird": 0.5}), lambda folder: read_cut_offs(folder / "k.json", ["bird"])
    ),
    "cut-offs-toml": Reader(
        "k.toml", always("bird = 0.5"), lambda folder: read_cut_offs(folder / "k.toml", ["bird"])
    ),
    "vocabulary": Reader(
        "v.toml", always(VOCABULARY), lambda folder: load_vocabulary(folder / "v.toml")
    ),
    "config": Reader(
        "o.toml",
        always('class = ["bird"]\nn = 2'),
        lambda folder: read_config(folder / "o.toml", OPTIONS),
    ),
    "prompts-txt": Reader("p.txt", always("a bird\nbird on sand"), read_own_prompts(".txt")),
    "prompts-csv": Reader("p.csv", always('prompt,class\n"a bird",bird'), read_own_prompts(".csv")),
    "prompts-jsonl": Reader("p.jsonl", always(PROMPT), read_own_prompts(".jsonl")),
    "captions": Reader("c.txt", always("a bird\n"), lambda folder: read_captions(folder / "c.txt")),
    "captions-jsonl": Reader(
        "l.jsonl",
        always(f"{json.dumps(CAPTION)}\n{json.dumps(CAPTION).replace(BIRD, 'Bird_000000')}"),
        lambda folder: read_captioned(folder, folder / "l.jsonl"),
    ),
    "captions-csv": Reader(
        "l.csv",
        always(f"file_name,text\nimages/{BIRD}.png,bird\nimages/Bird_000000.png,bird"),
        lambda folder: read_captioned(folder, folder / "l.csv"),
    ),
    "mask": Reader("x.png", png, lambda folder: read_indices(folder / "x.png")),
    "image": Reader("x.png", png, lambda folder: read_any_image(folder / "x.png")),
    "labelled": Reader(
        "metadata.jsonl",
        of_file("metadata.jsonl"),
        read_labelled("native"),
    ),
    "lora": Reader(
        "a.safetensors",
        always(tensors("lora.x")),
        lambda folder: read_lora(folder / "a.safetensors"),
    ),
    "head": Reader(
        "h.safetensors",
        always(tensors("x", diffumask=json.dumps(HEAD))),
        lambda folder: read_facts(folder / "h.safetensors"),
    ),
    "affinity": Reader(
        "net/config.json", of_file("net/config.json"), lambda folder: load(folder / "net")
    ),
    "affinity-weights": Reader(
        "net/model.safetensors",
        of_file("net/model.safetensors"),
        lambda folder: load(folder / "net"),
    ),
    "coco": Reader("coco.json", always(COCO), corrected("coco", "coco.json")),
    "label-studio": Reader(
        "ls.json",
        lambda folder: json.dumps(TASKS["x"]).encode(),
        corrected("label-studio", "ls.json"),
    ),
    "label-studio-min": Reader(
        "ls.json",
        lambda folder: json.dumps(LINES).encode(),
        corrected("label-studio", "ls.json"),
    ),
    "cvat-xml": Reader("a.xml", always(CVAT_XML), corrected("cvat", "a.xml")),
    "labelled-coco": Reader(
        "annotations/instances_a.json",
        always(COCO),
        read_labelled("coco"),
    ),
    "labelled-hf": Reader(
        "data/a-00000.parquet", of_file("data/a-00000.parquet"), read_labelled("hf")
    ),
    "class-names": Reader("id2label.json", of_file("id2label.json"), read_labelled("hf")),
    "classes-beside": Reader(
        "classes.json", always({"bird": 3}), lambda folder: values_beside(folder)
    ),
    "labelmap": Reader(
        "labelmap.txt", always("# a\nbird:128,128,0::\n"), lambda folder: values_beside(folder)
    ),
    "cvat": Reader("cvat.zip", of_file("cvat.zip"), corrected("cvat", "cvat.zip")),
    "png": Reader("plain.zip", of_file("plain.zip"), corrected("png", "plain.zip")),
}
NAMES = list(READERS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset with whatever else the readers need beside it; read only."""
    folder = dataset(tmp_path_factory.mktemp("whole") / "data", class_maps(2))
    (folder / "maps").mkdir()
    config = NetworkConfig(hidden_sizes=(4, 4), side=32)
    save(AffinityNet(AffinityNetwork(config), Facts(("bird",), 1, 1, 1, 0, "none")), folder / "net")
    write_zips(folder)
    (folder / "annotations").mkdir()
    write_hub(select(folder, 1.0), folder, False)
    (folder / "data" / "train-00000.parquet").rename(folder / "data" / "a-00000.parquet")
    return folder


def write_zips(folder):
    with zipfile.ZipFile(folder / "plain.zip", "w") as packed:
        packed.writestr(f"{BIRD}.png", png(folder))
    painted = io.BytesIO()
    Image.new("RGB", (9, 6), (128, 128, 0)).save(painted, "PNG")
    with zipfile.ZipFile(folder / "cvat.zip", "w") as packed:
        packed.writestr("labelmap.txt", "bird:128,128,0::\n")
        packed.writestr(f"SegmentationClass/{BIRD}.png", painted.getvalue())


def read_broken(name, content, whole, place):
    """Read a file with this content, in a copy of what is whole; nothing outside may change."""
    one = READERS[name]
    folder = place / "data"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    (folder / one.path).write_bytes(content)
    with suppress(InputError):
        one.read(folder)
    assert set(os.listdir(place)) <= {"data", "page.html"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_whole_is_read(name, whole, tmp_path):
    one = READERS[name]
    folder = shutil.copytree(whole, tmp_path / "data")
    (folder / one.path).write_bytes(one.valid(whole))
    one.read(folder)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_broken_is_read_or_refused(name, whole, tmp_path):
    simplest = b""

    @few
    @given(broken(READERS[name].valid(whole)))
    def check(content):
        nonlocal simplest
        try:
            read_broken(name, content, whole, tmp_path)
        except Exception:
            simplest = content
            raise

    try:
        check()
    except Exception:
        if EXAMPLES:  # keep it for the test below
            digest = hashlib.sha256(simplest).hexdigest()[:8]
            (CORPUS / f"{name}.{digest}").write_bytes(simplest)
        raise


@pytest.mark.parametrize("path", sorted(CORPUS.glob("[!.]*")), ids=lambda path: path.name)
def test_what_broke_a_reader_once_is_read_or_refused(path, whole, tmp_path):
    read_broken(path.name.rpartition(".")[0], path.read_bytes(), whole, tmp_path)


def test_half_a_character_is_no_text(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "data")
    (folder / "metadata.jsonl").write_bytes((CORPUS / "metadata.half").read_bytes())
    assert [one.name for one in read_records(folder)] == ["Bird_000000"]
    assert "half a character" in str(verify(folder).problems[0])
    (folder / "p.jsonl").write_bytes((CORPUS / "prompts-jsonl.half").read_bytes())
    with pytest.raises(InputError, match="half a character"):
        read_own_prompts(".jsonl")(folder)
