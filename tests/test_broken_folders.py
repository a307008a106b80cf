"""Whatever others did to a dataset, each command gives a result or one line, and keeps the rest."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
import safetensors.numpy
from broken_content import broken
from formats_data import class_maps
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffumask.dataset.maps import encode_maps
from diffumask.dataset.store import open_store
from diffumask.types import Example, Prompt, Sample, Target

CORPUS = Path(__file__).parent / "corpus_folders"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SETTINGS = {
    **{"model": "tiny", "checkpoint": "0" * 16, "vocabulary": "voc", "keep_maps": True},
    **{"merge": "mean", "weights": {"8": 0.5}, "affinity": "self-attention", "heat": "affinity"},
    **{"guidance_scale": 4.0, "num_inference_steps": 2, "threshold": "otsu", "refiner": "none"},
}
CLASSES = {"bird": 3, "cat": 8, "Eiffel Tower": 254}
BIRD = "Bird_000001"
FILES = (
    *("run.json", "metadata.jsonl", f"images/{BIRD}.png", f"masks/{BIRD}.png"),
    f"maps/{BIRD}.safetensors",
)


contents = partial(commands.contents, but=(".lock",))


@dataclass(frozen=True, slots=True)
class Command:
    """The words of a call, whose results lie in `out`, and what it may change in the dataset."""

    words: Callable[[Path, Path], list[object]]
    changes: tuple[str, ...] = ()


def export(name: str) -> Command:
    return Command(lambda data, out: ["export", data, "--format", name, "-o", out / "e"])


def filtered(data: Path, out: Path) -> list[object]:
    small = ["--steps", 1, "--batch-size", 1, "--folds", 2, "--device", "cpu"]
    return ["filter", data, *small, "--apply", out / "kept", "--report", out / "r.html"]


def trained(data: Path, out: Path) -> list[object]:
    small = ["--steps", 1, "--batch-size", 2, "--size", "32x32", "--workers", 0]
    return ["train", data, "--model", "upernet-tiny", "-o", out / "net", *small, "--device", "cpu"]


QUICK = {
    "show": Command(lambda data, out: ["show", data, "-o", out / "page.html"]),
    **{name: export(name) for name in ("voc", "coco", "yolo", "png", "cvat", "label-studio")},
    "augment": Command(lambda data, out: ["augment", data, "-o", out / "a", "--n", 1]),
    "remask": Command(lambda data, out: ["remask", data, "-o", out / "r", "--refiner", "none"]),
    "verify": Command(lambda data, out: ["verify", data]),
    "repair": Command(
        lambda data, out: ["verify", data, "--repair"],
        ("metadata.jsonl", "run.json", ".broken", "images", "masks", "maps", ".journal.jsonl"),
    ),
    "merge": Command(lambda data, out: ["merge", data, "-o", out / "m"]),
    "evaluate": Command(
        lambda data, out: [
            "evaluate",
            "--data",
            data,
            "--predictions",
            data / "masks",
            "--workers",
            1,
        ]
    ),
    "calibrate": Command(
        lambda data, out: [
            *("calibrate", "--data", data, "--class", "bird", "--out", out / "t.json"),
            *("--reference", f"masks:{out.parent / 'masks'}"),
        ]
    ),
    "upload": Command(lambda data, out: ["upload", data, f"file://{out}/there"]),
    "import": Command(
        lambda data, out: [
            *("import", out.parent / "masks", "--format", "png", "--data", data, "-o", out / "i"),
        ]
    ),
    "dry-run": Command(
        lambda data, out: ["generate", "--class", "bird", "--n", 2, "--out", data, "--dry-run"]
    ),
}


def examined(data: Path, out: Path) -> list[object]:
    small = ["--n", 1, "--pictures", 2, "--num-inference-steps", 1, "--device", "cpu"]
    small += ["--height", 32, "--width", 32]
    asked = ["--class", "bird", "--class", "cat", "--vocabulary", "tiny", *small]
    return ["doctor", "--data", data, *asked, "--page", out / "p.png"]  # a preset takes a search


SLOW = {
    "doctor": Command(examined),
    "hf": export("hf"),
    "webdataset": export("webdataset"),
    "filter": Command(filtered, ("metadata.jsonl", "run.json", "filter", ".journal.jsonl")),
    "train": Command(trained),
    "affinity": Command(
        lambda data, out: [
            *(
                "affinity",
                "train",
                "--data",
                data,
                "--out",
                out / "n",
                "--steps",
                1,
                "--device",
                "cpu",
            ),
        ]
    ),
}
COMMANDS = QUICK | SLOW


def item(index: int, class_map: np.ndarray) -> tuple[Example, bytes]:
    prompt = Prompt("a bird on grass", (Target("bird", "bird", 3),), "", "on grass")
    image = np.full((*class_map.shape, 3), (index * 20, 90, 200), np.uint8)
    heat = {"bird": np.linspace(1, 0, 12, dtype=np.float32).reshape(3, 4)}
    example = Example(prompt, index, image, class_map, {"area": 0.5})
    return example, encode_maps(Sample(prompt, index, image, heat, heat))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset of four items with heat maps, and a mask to import beside it."""
    place = tmp_path_factory.mktemp("whole")
    with open_store(place / "data", SETTINGS, CLASSES, {"n": 2, "shard": "1/2"}) as store:
        for index, (name, class_map) in enumerate(class_maps(4, (11, 13)).items()):
            class_map = class_map.repeat(3, 0).repeat(3, 1)  # large enough for doctor
            example, maps = item(index, class_map)
            facts = {"index": index, "model": "tiny", "num_inference_steps": 2}
            facts |= {"guidance_scale": 4.0, "thresholds": [0.5], "foreground": 0.25}
            store.write(name, example, facts, maps)
    (place / "masks").mkdir()
    shutil.copy(place / f"data/masks/{BIRD}.png", place / "masks")
    return place


def call(command: Command, whole: Path, place: Path, spoil: Callable[[Path], object]) -> str:
    """Run a command on a copy that was spoiled; return what it says on stderr."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    data, out = place / "data", place / "out"
    out.mkdir()
    spoil(data)
    before = contents(data)
    result = commands.call(*command.words(data, out))
    assert result.exit_code in (0, 1, 2), result.output
    if result.exit_code == 2:
        said = [one for one in result.stderr.splitlines() if one.startswith("diffumask:")]
        assert len(said) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == said[0]
    after = contents(data)
    kept = {path for path in before if not path.startswith(command.changes or ("\0",))}
    assert {path: after.get(path) for path in kept} == {path: before[path] for path in kept}
    assert set(os.listdir(place)) == {"data", "masks", "out"}
    return result.stderr if result.exit_code == 2 else ""


def put(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda data: (data / path).write_bytes(content)


def swap(path: str, other: str) -> Callable[[Path], object]:
    return lambda data: (data / path).write_bytes((data / other).read_bytes())


def remove(path: str) -> Callable[[Path], object]:
    return lambda data: (data / path).unlink()


def into_folder(path: str) -> Callable[[Path], object]:
    return lambda data: ((data / path).unlink(), (data / path).mkdir())


def spoiled(whole: Path) -> st.SearchStrategy[tuple[str, Callable[[Path], object]]]:
    """What is done to a file: other content, that of another file, nothing, or a folder."""
    lines = (whole / "data/metadata.jsonl").read_bytes().splitlines(keepends=True)
    changed = st.one_of(
        *[
            broken((whole / "data" / path).read_bytes()).map(lambda c, p=path: put(p, c))
            for path in FILES
            if path != "metadata.jsonl"
        ],
        broken(lines[1]).map(lambda c: put("metadata.jsonl", b"".join([lines[0], c, *lines[2:]]))),
        broken(lines[1]).map(lambda c: put("metadata.jsonl", b"".join([lines[0], c, *lines[2:]]))),
        broken((whole / "data/run.json").read_bytes()).map(lambda c: put("run.json", c)),
        st.builds(swap, st.sampled_from(FILES), st.sampled_from(FILES[:1] + FILES[2:])),
        st.sampled_from(FILES).map(remove),
        st.sampled_from(FILES).map(into_folder),
    )
    return changed


# The settings of a dry run are not those that the dataset was begun with.
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "dry-run"])
def test_a_whole_dataset_is_taken(name, whole, tmp_path):
    assert call(COMMANDS[name], whole, tmp_path / "x", lambda data: None) == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_spoiled_dataset_is_taken_or_refused_in_one_line(name, whole, tmp_path):
    few = settings(
        max_examples=EXAMPLES or (4 if name in QUICK else 1),
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=list(Phase) if EXAMPLES else [Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    simplest: dict[str, bytes] = {}

    @few
    @given(spoiled(whole))
    def check(spoil):
        try:
            call(COMMANDS[name], whole, tmp_path / "x", spoil)
        except BaseException:
            simplest.clear()
            simplest.update(contents(tmp_path / "x/data"))
            raise

    try:
        check()
    except BaseException:
        if EXAMPLES:  # keep what differs for the test below
            keep(name, simplest, contents(whole / "data"))
        raise


def keep(name: str, spoiled: dict[str, bytes], before: dict[str, bytes]) -> None:
    for path in FILES:
        if path in spoiled and spoiled[path] != before[path]:
            digest = hashlib.sha256(spoiled[path]).hexdigest()[:8]
            CORPUS.mkdir(exist_ok=True)
            (CORPUS / f"{name}.{path.replace('/', '+')}.{digest}").write_bytes(spoiled[path])


@pytest.mark.parametrize("path", sorted(CORPUS.glob("[!.]*")), ids=lambda path: path.name)
def test_what_broke_a_command_once_is_taken_or_refused(path, whole, tmp_path):
    name, _, rest = path.name.partition(".")
    where = rest.rpartition(".")[0].replace("+", "/")
    call(COMMANDS[name], whole, tmp_path / "x", put(where, path.read_bytes()))


def with_field(path: str, *keys: object, **change: object) -> Callable[[Path], object]:
    """Set a value in run.json or in the second line of metadata.jsonl, or take it out."""

    def spoil(data: Path) -> None:
        lines = (data / path).read_text("utf-8").splitlines(keepends=True)
        first, last = (0, len(lines)) if path == "run.json" else (1, 2)
        tree = json.loads("".join(lines[first:last]))
        *way, key = keys
        inner = tree
        for one in way:
            inner = inner[one]
        if change:
            inner[key] = change["to"]
        else:
            del inner[key]
        lines[first:last] = [json.dumps(tree) + "\n"]
        (data / path).write_text("".join(lines), "utf-8")

    return spoil


LINE = "metadata.jsonl"
NAMED = {
    "a number of 400 digits": ("show", with_field(LINE, "foreground", to=10**400), "'foreground'"),
    "guidance": (
        "show",
        with_field("run.json", "settings", "guidance_scale", to="x"),
        "'guidance_scale', got 'x'",
    ),
    "no targets": ("augment", with_field(LINE, "targets"), "'targets', got none"),
    "no seed": ("remask", with_field(LINE, "seed"), "'seed', got none"),
    "no index": ("remask", with_field(LINE, "index"), "expected index in the line of"),
    "no model": ("remask", with_field(LINE, "model"), "expected model in the line of"),
    "no model of the run": (
        "remask",
        with_field("run.json", "settings", "model"),
        "has the setting 'model', got none",
    ),
    "no scores": ("hf", with_field(LINE, "scores"), "'scores', got none"),
    "an id as text": (
        "affinity",
        with_field(LINE, "targets", 0, "class_id", to="3"),
        "'class_id', got '3'",
    ),
    "a prompt that is none": ("show", with_field(LINE, "prompt", to={}), "'prompt', got {}"),
    "an empty heat map": (
        "remask",
        put(
            f"maps/{BIRD}.safetensors",
            safetensors.numpy.save({"heat:bird": np.zeros((0, 0), np.uint8)}),
        ),
        "got 'heat:bird' of 0x0 uint8",
    ),
    "heat of another word": (
        "calibrate",
        put(
            f"maps/{BIRD}.safetensors",
            safetensors.numpy.save({"heat:cat": np.zeros((2, 2), np.uint8)}),
        ),
        "expected heat of 'bird'",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_wrong_is_named(case, whole, tmp_path):
    name, spoil, message = NAMED[case]

    def without_stamps(data: Path) -> None:
        spoil(data)
        lines = map(json.loads, (data / LINE).read_text("utf-8").splitlines())
        kept = [{key: one[key] for key in one if key != "files"} for one in lines]
        (data / LINE).write_text("".join(json.dumps(one) + "\n" for one in kept), "utf-8")

    assert message in call(COMMANDS[name], whole, tmp_path / "x", without_stamps)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 33\n%%EndComments\nshowpage\n%%EOF\n"


def pictures() -> dict[str, bytes]:
    import io

    made = {"eps": EPS}
    for kind in ("TIFF", "PPM"):
        encoded = io.BytesIO()
        Image.new("RGB", (40, 33)).save(encoded, kind)
        made[kind.lower()] = encoded.getvalue()
    return made


READS_IMAGES = ("show", "coco", "augment", "filter", "train", "remask", "import", "merge")


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("kind", pictures())
@pytest.mark.parametrize("name", READS_IMAGES)
def test_no_format_but_those_listed_is_opened(name, kind, part, whole, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("subprocess.Popen", lambda *words, **_: opened.append(words))
    monkeypatch.setattr("subprocess.check_call", lambda *words, **_: opened.append(words))

    def spoil(data: Path) -> None:
        for path in (data / part).iterdir():
            path.write_bytes(pictures()[kind])
        lines = map(json.loads, (data / LINE).read_text("utf-8").splitlines())
        kept = [{key: one[key] for key in one if key != "files"} for one in lines]
        (data / LINE).write_text("".join(json.dumps(one) + "\n" for one in kept), "utf-8")

    said = call(COMMANDS[name], whole, tmp_path / "x", spoil)
    assert not opened
    if (name, part) != ("remask", "masks"):  # which makes them anew
        assert "expected a whole " in said


@pytest.mark.parametrize("name", ["show", "voc", "augment", "filter", "train", "remask"])
def test_a_decompression_bomb_is_one_line(name, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # of twice as many there is an error
    assert "decompression bomb" in call(COMMANDS[name], whole, tmp_path / "x", lambda data: None)
