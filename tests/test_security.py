"""What the threat model in SECURITY.md rests on."""

import io
import json
import re
from pathlib import Path

import pytest
from commands import call, refused
from formats_data import class_maps, dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffumask.api.default_folder import default_folder
from diffumask.dataset.listing import has_maps, parse_line, read_records
from diffumask.dataset.names import file_paths, item_name
from diffumask.dataset.shards import WHOLE
from diffumask.dataset.verify import verify
from diffumask.errors import InputError
from diffumask.files.pictures import PHOTOGRAPHS, PNG, opened

ROOT = Path(__file__).parent.parent
# Each runs code that a file names, or may.
UNSAFE = re.compile(
    r"(?<!safetensors\.)torch\.(load|save)\b|\bmarshal\b|\bshelve\b|\bjoblib\b|allow_pickle\s*=\s*True"
    r"|trust_remote_code\S*\s*[=:]\s*True|yaml\.(load|unsafe_load|full_load)\b|use_safetensors\s*=\s*False"
    r"|weights_only|(?<![\w.])(eval|exec|compile|__import__)\(|os\.system|shell\s*=\s*True|mktemp\("
)
PROSE = re.compile(r'"""(?:.|\n)*?"""|#[^\n]*')


@pytest.mark.parametrize("folder", ["diffumask", "cli", "prompts"])
def test_nothing_reads_a_format_that_can_run_code(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        found = UNSAFE.search(PROSE.sub("", path.read_text("utf-8")))
        assert found is None, f"{path.name}: {found}"


@pytest.mark.parametrize("folder", ["diffumask", "cli", "prompts"])
def test_image_files_are_opened_in_one_place(folder):
    opens = re.compile(r"\bImage\.open\(|imread|imdecode|ImageFile\.Parser|PillowImage\.open\(")
    for path in sorted((ROOT / folder).rglob("*.py")):
        found = opens.search(PROSE.sub("", path.read_text("utf-8")))
        assert (found is None) == (path.name != "pictures.py"), f"{path.name}: {found}"


def test_only_the_listed_formats_are_opened():
    assert set(PHOTOGRAPHS) == {"JPEG", "PNG", "WEBP", "BMP"}
    assert PNG == ("PNG",)
    for kind in ("TIFF", "GIF", "PPM", "EPS"):
        encoded = io.BytesIO()
        Image.new("RGB", (2, 2)).save(encoded, kind)
        with (
            pytest.raises(InputError, match="got x: another format, or damaged; mend"),
            opened(encoded.getvalue(), PHOTOGRAPHS, "mend", "x"),
        ):
            pass


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    name = b"\xff".decode("utf-8", "surrogateescape")
    data = dataset(tmp_path / "data", class_maps(2))
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ("generate", "--class", "bird", "--out", tmp_path / name),
        ("augment", data, "-o", tmp_path / name),
        ("export", data, "--format", "voc", "-o", tmp_path / name),
        ("merge", data, "-o", tmp_path / name),
        ("show", data, "-o", tmp_path / f"{name}.html"),
        ("verify", tmp_path / name),
        ("generate", "--class", name, "--out", tmp_path / "x"),
    ):
        assert "expected names in UTF-8, got" in refused(*words)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_whose_name_is_no_text_is_told_of(tmp_path):
    data = dataset(tmp_path / "data", class_maps(2))
    (data / "images" / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    result = call("verify", data)
    assert result.exit_code == 1
    assert "images/\\udcff.png: expected a line of metadata.jsonl" in result.stdout


INDEX = {"_class_name": "x", "unet": ["diffusers", "UNet2DConditionModel"]}
VAE = {"block_out_channels": [4, 4]}


@pytest.mark.parametrize(
    ("index", "unet", "message"),
    [
        ([], {}, "expected a JSON object in"),
        (INDEX | {"unet": 5}, {}, "with neither UNet nor transformer"),
        (INDEX | {"unet": ["a"]}, {}, "with neither UNet nor transformer"),
        (INDEX | {"../../escape": ["a", "b"]}, {}, "expected parts of a model"),
        (INDEX | {"/etc": ["a", "b"]}, {}, "expected parts of a model"),
        (INDEX, {"sample_size": "x"}, "expected sample_size in"),
        (INDEX, {"sample_size": [1, 2, 3]}, "expected sample_size in"),
        (INDEX, {"sample_size": 10**9}, "expected sample_size in"),
        (INDEX, {}, "expected sample_size in"),
        (INDEX, [], "expected a JSON object in"),
    ],
)
def test_a_model_folder_of_others_is_read_or_refused(tmp_path, index, unet, message):
    for name, tree in (("unet/config", unet), ("vae/config", VAE), ("model_index", index)):
        path = tmp_path / f"model/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(tree))
    words = ("generate", "--class", "bird", "--model", tmp_path / "model", "--dry-run")
    assert message in refused(*words)


@given(st.text(), st.integers(0, 10**7))
def test_no_class_name_leads_out_of_the_folder(class_name, index):
    try:
        paths = file_paths(item_name(class_name, index)).values()
    except InputError:
        return
    for path in paths:
        assert re.fullmatch(r"(images|masks|maps)/[A-Z0-9][A-Za-z0-9]*_\d{6,}\.[a-z]+", path)


@pytest.mark.parametrize("name", ["con", "NUL", "aux", "Com1"])
def test_no_folder_has_a_name_that_windows_reserves(name):
    assert default_folder("tiny", [name], WHOLE).name.endswith("-class")


@pytest.mark.parametrize(
    "file_name",
    [
        *("../Bird_000000.png", "/etc/Bird_000000.png", "images/../Bird_000000.png"),
        *("images/Bird_000000.png\0", "images\\Bird_000000.png", "images/CON", "images/", ""),
        *("images/.png", "masks/Bird_000000.png", "C:/images/Bird_000000.png"),
    ],
)
def test_no_record_names_a_file_elsewhere(file_name):
    assert parse_line('{"file_name": ' + f'"{file_name}"'.replace("\\", "\\\\") + "}") is None


@pytest.fixture
def linked(tmp_path):
    """A dataset of others, of which a mask and heat maps are links to what is not theirs."""
    folder = dataset(tmp_path / "data", class_maps(3))
    secret = tmp_path / "secret"
    Image.new("P", (9, 6)).save(secret, "PNG")
    mask = folder / "masks/Bird_000001.png"
    mask.unlink()
    mask.symlink_to(secret)
    (folder / "maps").mkdir()
    (folder / "maps/Bird_000002.safetensors").symlink_to(secret)
    return folder


def test_links_that_lead_out_are_not_followed(linked, tmp_path):
    records = {record.name: record for record in read_records(linked)}
    assert sorted(records) == ["Bird_000000", "Bird_000002"]
    assert not has_maps(linked, records["Bird_000002"])
    assert any("leads out" in problem.message for problem in verify(linked).problems)
    assert call("merge", linked, "-o", tmp_path / "merged").exit_code == 0
    assert not list((tmp_path / "merged").glob("ma*s/*1.*"))
    assert not list((tmp_path / "merged").glob("maps/*"))


def test_links_within_the_folder_are(linked):
    mask = linked / "masks/Bird_000001.png"
    mask.unlink()
    mask.symlink_to(linked / "masks/Bird_000000.png")
    assert len(read_records(linked)) == 3


def test_a_dataset_may_be_reached_through_a_link(tmp_path):
    dataset(tmp_path / "elsewhere", class_maps(2))
    folder = tmp_path / "data"
    folder.symlink_to(tmp_path / "elsewhere")
    dataset(folder, class_maps(3))
    assert len(read_records(folder)) == 3
    assert not verify(folder).problems


def test_an_error_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "a\x1b[31m\nb").mkdir()
    result = call("verify", tmp_path / "a\x1b[31m\nb")
    (line,) = result.stderr.splitlines()
    assert "\x1b" not in line
    assert line.startswith("diffumask: expected a dataset")


def test_pages_show_names_as_text(tmp_path):
    from diffumask.draw import display_palette
    from diffumask.noise.admission import Outcome
    from diffumask.noise.items import MaskSummary
    from diffumask.noise.page import _html
    from diffumask.noise.report import Entry, Part, Report
    from diffumask.noise.verdicts import Verdict

    evil = "<script>alert(1)</script>"
    verdict = Verdict(False, evil, evil)
    outcome = Outcome([MaskSummary(evil, evil, {}, {}, "")], {evil: verdict}, evil)
    parts = [Part(evil, 1, [Entry(evil, [evil], verdict, [])])]
    page = _html(Report(evil, outcome, parts, {1: evil}, display_palette([1]))).decode()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 6
