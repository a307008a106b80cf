import json
import uuid
from functools import partial
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import done, refused

from diffumask.dataset.encode import encode_class_map, encode_item
from diffumask.dataset.store import open_store
from diffumask.dataset.upload import upload
from diffumask.dataset.verify import repair
from diffumask.errors import InputError
from diffumask.types import Example, Prompt, Target

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

SETTINGS = {"seed": 0}
contents = partial(commands.contents, but=(".lock",))


@pytest.fixture(params=["memory", "file", "s3"])
def url(request, tmp_path):
    """A place of each kind; S3 is a server of moto's on this machine."""
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    place = tmp_path / "place" if request.param == "file" else f"/{uuid.uuid4()}"
    return f"{request.param}://{place}"


@pytest.fixture(scope="module")
def s3_server():
    """Where a server answers as S3 does."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    yield "http://{}:{}".format(*served.get_host_and_port())
    served.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """An empty place on that server."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    name = f"bucket-{uuid.uuid4()}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}/birds"


def write(folder: Path, *indices: int, settings=SETTINGS) -> Path:
    prompt = Prompt("a bird", (Target("bird", "bird", 3),))
    with open_store(folder, settings, {"bird": 3}, {}) as store:
        for index in indices:
            image = np.full((2, 3, 3), index, np.uint8)
            one = Example(prompt, 1, image, np.array([[0, 3, 3], [0, 0, 3]], np.uint8))
            store.write_batch([encode_item(f"Bird_{index:06d}", one, {})])
    return folder


def uploaded(url: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {path[len(root) :].lstrip("/"): files.cat_file(path) for path in files.find(root)}


def test_the_place_gets_what_it_lacks_and_becomes_the_folder(tmp_path, url):
    folder = write(tmp_path / "data", 0, 1)
    assert upload(folder, url) == 2
    assert uploaded(url) == contents(folder)
    assert upload(folder, url) == 0
    write(folder, 2)
    assert upload(folder, url) == 1
    (folder / "masks/Bird_000000.png").write_bytes(encode_class_map(np.full((2, 3), 3, np.uint8)))
    repair(folder, accept=True)
    assert upload(folder, url) == 1
    assert uploaded(url) == contents(folder)


def test_an_upload_that_was_cut_short_goes_on(tmp_path):
    folder = write(tmp_path / "data", 0, 1)
    place = tmp_path / "place"
    upload(folder, f"file://{place}")
    for name in ("metadata.jsonl", "run.json", "images/Bird_000001.png"):
        (place / name).unlink()
    assert upload(folder, f"file://{place}") == 1
    assert contents(place) == contents(folder)


def same_size(path: Path) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_changed_here_or_there_is_copied_though_its_size_did_not(tmp_path, url):
    folder = write(tmp_path / "data", 0, 1)
    upload(folder, url)
    same_size(folder / "masks/Bird_000000.png")
    assert upload(folder, url) == 1
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(
        f"{root}/images/Bird_000001.png", b"x" * files.size(f"{root}/images/Bird_000001.png")
    )
    assert upload(folder, url) == 1
    assert uploaded(url) == contents(folder)
    assert upload(folder, url) == 0


@pytest.mark.parametrize("etag", ['"0123456789abcdef0123456789abcdef-2"', f'"{"0" * 32}"'])
def test_where_an_etag_is_no_md5_the_content_decides(tmp_path, bucket, monkeypatch, etag):
    folder = write(tmp_path / "data", 0, 1)
    upload(folder, bucket)
    files, _ = fsspec.core.url_to_fs(bucket)
    find = files.find

    def with_other_etags(*words, **options):
        return {name: one | {"ETag": etag} for name, one in find(*words, **options).items()}

    monkeypatch.setattr(files, "find", with_other_etags)
    assert upload(folder, bucket) == 0
    same_size(folder / "images/Bird_000001.png")
    assert upload(folder, bucket) == 1


def test_what_the_place_knows_to_be_the_same_is_not_read(tmp_path, bucket, monkeypatch):
    folder = write(tmp_path / "data", 0, 1)
    upload(folder, bucket)
    files, root = fsspec.core.url_to_fs(bucket)
    read, cat_file = [], files.cat_file
    monkeypatch.setattr(files, "cat_file", lambda path: read.append(path) or cat_file(path))
    assert upload(folder, bucket) == 0
    assert read == [f"{root}/run.json"]


def test_a_place_of_something_else_is_refused_and_left_alone(tmp_path):
    folder = write(tmp_path / "data", 0)
    other = write(tmp_path / "other", 0, settings={"seed": 5})
    with pytest.raises(InputError, match=r"same settings in .*, got another seed"):
        upload(folder, f"file://{other}")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"with 'thesis\.tex' in it"):
        upload(folder, f"file://{tmp_path / 'thesis'}")
    assert json.loads((other / "run.json").read_text())["settings"] == {"seed": 5}


def test_what_is_out_of_reach_is_one_line(tmp_path):
    folder = write(tmp_path / "data", 0)
    (tmp_path / "file").touch()
    for place in ("nowhere://x", f"file://{tmp_path}/file/x"):
        assert refused("upload", folder, place)
    told = done("upload", folder, f"file://{tmp_path / 'place'}")
    assert told == f"1 item in file://{tmp_path / 'place'}, 1 copied now\n"


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("s3://bucket/birds", "the package s3fs to reach s3://bucket/birds, got none; install it "
        "with: pip install 'diffumask[remote]'"),
        ("gs://bucket/birds", "the package gcsfs to reach gs://bucket/birds, got none; install it "
        "with: pip install gcsfs"),
        ("sftp://host/birds", "a package that reaches sftp://host/birds, got none: Install it; "
        "install it"),
    ],
)  # fmt: skip
def test_a_place_whose_package_is_missing_is_told_in_a_sentence(tmp_path, monkeypatch, url, advice):
    def missing(url):
        raise ImportError("Install it")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    line = refused("upload", write(tmp_path / "data", 0), url)
    assert line == f"diffumask: expected {advice}"
