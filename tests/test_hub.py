"""Uploads to the hub, which is a dictionary here: no test reaches the network."""

import hashlib
import json
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import yaml
from commands import call, contents, done, refused
from formats_data import CLASSES, class_maps, dataset
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

import diffumask
from diffumask import extra
from diffumask.dataset.run import read_run

pytest.importorskip("datasets")

URL = "hf://datasets/someone/birds"


class Hub:
    """What the client calls, with the files of one repository, or none yet."""

    def __init__(self):
        self.files: dict[str, bytes] | None = None
        self.token = True
        self.is_private = False
        self.commits = 0
        self.fault: Exception | None = None

    def whoami(self):
        if not self.token:
            raise LocalTokenNotFoundError("Token is required")

    def repo_info(self, name, repo_type):
        assert (name, repo_type) == ("someone/birds", "dataset")
        if self.files is None:
            raise RepositoryNotFoundError("404\n\nNot Found", response=answer())
        return SimpleNamespace(sha=str(self.commits))

    def list_repo_tree(self, name, repo_type, recursive, revision):
        for path, content in (self.files or {}).items():
            lfs = {"size": len(content), "oid": hashlib.sha256(content).hexdigest()}
            kind = {"lfs": lfs | {"pointerSize": 1}} if path.endswith(".parquet") else {}
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            yield RepoFile(path=path, size=len(content), oid=blob, **kind)

    def create_repo(self, name, repo_type, private=False):
        if self.fault:
            raise self.fault
        self.files, self.is_private = {".gitattributes": b"*.parquet"}, bool(private)

    def create_commit(self, name, operations, commit_message, repo_type, parent_commit):
        assert parent_commit in (None, str(self.commits))
        assert self.files is not None
        for one in operations:
            if isinstance(one, huggingface_hub.CommitOperationAdd):
                self.files[one.path_in_repo] = Path(str(one.path_or_fileobj)).read_bytes()
            else:
                del self.files[one.path_in_repo]
        self.commits += 1


def answer() -> Any:
    return SimpleNamespace(headers={}, request=None, status_code=404)


@pytest.fixture
def hub(monkeypatch):
    fake = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    return fake


@pytest.fixture
def data(tmp_path):
    return dataset(tmp_path / "data", class_maps(6))


def last_line(data):
    """How an upload is refused once the items were counted."""
    result = call("upload", data, URL)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[-1]


def card_of(hub):
    _, head, body = hub.files["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_hub_gets_what_datasets_loads_in_one_commit(tmp_path, data, hub):
    told = done("upload", data, URL)
    assert told.startswith(f"6 items in {URL}, 4 files, ")
    assert (hub.commits, hub.is_private) == (1, False)
    for path, content in hub.files.items():
        (tmp_path / "there" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "there" / path).write_bytes(content)
    load = extra.load("datasets").load_dataset
    loaded = load(str(tmp_path / "there"), cache_dir=str(tmp_path / "cache"))
    rows = {row["name"]: row for split in loaded.values() for row in split}
    numbers = {0: 0, 255: 255} | {old: new for new, old in enumerate(CLASSES.values(), 1)}
    assert sorted(rows) == list(class_maps(6))
    for name, labels in class_maps(6).items():
        wanted = np.vectorize(numbers.get)(labels)
        assert np.array_equal(np.array(rows[name]["mask"]), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "there"]


def test_the_card_tells_licence_size_features_classes_and_how_it_was_made(hub, tmp_path):
    with chdir(tmp_path):
        made = ("--num-inference-steps", 1, "--height", 16, "--width", 24)
        done("generate", "--class", "cat", "--n", 3, *made, "--out", tmp_path / "cats")
    done("upload", tmp_path / "cats", URL, "--licence", "cc-by-4.0", "--private")
    assert hub.is_private
    data, body = card_of(hub)
    assert (data["license"], data["pretty_name"]) == ("cc-by-4.0", "cats")
    assert data["task_categories"] == ["image-segmentation"]
    assert data["size_categories"] == ["n<1K"]
    info = data["dataset_info"]
    assert {"name": "mask", "dtype": "image"} in info["features"]
    assert sum(split["num_examples"] for split in info["splits"]) == 3
    splits = [one["split"] for one in data["configs"][0]["data_files"]]
    assert splits == [split["name"] for split in info["splits"]]
    assert "\n| 1 | cat | 3 | " in body
    assert "`diffumask generate --config config.toml`" in body
    assert 'out = "cats"' in body
    assert str(tmp_path) not in body
    assert json.dumps(read_run(tmp_path / "cats").settings["checkpoint"]) in body
    assert "under Apache-2.0" in body
    assert 'load_dataset("someone/birds"' in body


def test_what_is_there_already_is_not_sent_again_and_what_differs_is_not_replaced(data, hub):
    done("upload", data, URL)
    assert f"6 items in {URL}, 0 files, 0 MB sent now" in done("upload", data, URL)
    assert hub.commits == 1
    hub.files["README.md"] += b"My own words.\n"
    hub.files["notes.txt"] = b"kept"
    hub.files["data/train-00007.parquet"] = b"of a larger dataset"
    before = dict(hub.files)
    assert "'README.md' that differs (2 in all)" in last_line(data)
    assert hub.files == before
    done("upload", data, URL, "--replace")
    assert hub.commits == 2
    assert set(before) - set(hub.files) == {"data/train-00007.parquet"}
    assert hub.files["notes.txt"] == b"kept"
    assert b"My own words" not in hub.files["README.md"]


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run_tells_and_sends_nothing(data, hub, there):
    hub.token = False
    hub.files = {"README.md": b"Mine."} if there else None
    facts = json.loads(done("upload", data, URL, "--dry-run", "--json"))
    assert facts["files"] == sorted(facts["files"])
    assert {"README.md", "id2label.json"} < set(facts["files"])
    assert facts["bytes"] > 1000
    assert (facts["replaced"], facts["is_new"]) == (["README.md"] if there else [], not there)
    assert done("upload", data, URL, "--dry-run").endswith("; nothing was sent\n")
    assert hub.files == ({"README.md": b"Mine."} if there else None)
    assert not hub.commits


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_dry_run_to_storage_tells_what_an_upload_copies(tmp_path, data, kind):
    extra.load("fsspec")
    url = f"{kind}://{tmp_path / 'place'}"
    told = json.loads(done("upload", data, url, "--dry-run", "--json"))
    assert told["to_copy"] == 6
    assert told["files"][-2:] == ["run.json", "metadata.jsonl"]
    assert told["bytes"] == sum(map(len, contents(data, but=(".lock",)).values()))
    assert not (tmp_path / "place").exists()
    done("upload", data, url)
    assert done("upload", data, url, "--dry-run").startswith("0 of 6 items would be copied to ")


def test_what_the_hub_refuses_is_one_line(data, hub):
    hub.token = False
    assert "expected a token of the hub to write to someone/birds" in refused("upload", data, URL)
    hub.token = True
    told = "You don't have the rights to create a dataset under the namespace someone"
    hub.fault = HfHubHTTPError("403 Forbidden\n\nurl", response=answer(), server_message=told)
    assert f"got: {told}; check the name" in last_line(data)
    hub.fault = ConnectionError("no\nroute")
    assert "got: no route; check the name" in last_line(data)
    hub.repo_info = hub.create_repo
    assert "someone/birds on the hub" in refused("upload", data, URL)
    assert hub.files is None


@pytest.mark.parametrize(
    "url", ["hf://someone/birds", "hf://datasets/birds", "hf://datasets/a/b/c", "hf://"]
)
def test_another_address_of_the_hub_is_refused(data, hub, url):
    assert f"expected hf://datasets/OWNER/NAME, got {url!r}" in refused("upload", data, url)


def test_options_of_the_hub_are_refused_for_other_places(tmp_path, data):
    for option in (["--private"], ["--replace"], ["--licence", "mit"]):
        assert "alone, got it with" in refused("upload", data, tmp_path / "place", *option)
    assert not (tmp_path / "place").exists()


def test_what_is_no_dataset_is_refused_before_the_hub_is_asked(tmp_path, hub):
    hub.whoami = None
    assert "run.json" in refused("upload", tmp_path, URL)


def test_the_function_returns_how_many_items_were_sent(data, hub):
    assert diffumask.upload(folder=data, url=URL) == 6
    assert diffumask.upload(folder=data, url=URL) == 0
