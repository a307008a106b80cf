"""Folders for what is in the making: none stays, and nothing else goes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diffumask.errors import InputError
from diffumask.files.atomic import new_file, write_file, writing
from diffumask.files.partial import is_partial, partial_folder

HOLD = """
import sys, time
from pathlib import Path
from diffumask.files.partial import partial_folder
with partial_folder(Path(sys.argv[1])) as made:
    (made / "half").write_text("x")
    print(made, flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(os.listdir(folder))


def test_what_is_made_is_renamed_and_nothing_stays(tmp_path):
    write_file(tmp_path / "below/file", b"one")
    write_file(tmp_path / "below/file", b"two")
    assert (tmp_path / "below/file").read_bytes() == b"two"
    assert names(tmp_path / "below") == ["file"]


def test_what_a_kill_left_goes_with_the_next_file_and_what_a_run_holds_stays(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    live = Path(process.stdout.readline().strip())
    write_file(tmp_path / "file", b"one")
    assert (live / "half").read_text() == "x"
    process.kill()
    process.communicate()
    assert live.is_dir()
    write_file(tmp_path / "file", b"two")
    assert names(tmp_path) == ["file"]


def test_a_kill_before_the_lock_leaves_an_empty_folder_that_goes(tmp_path):
    (tmp_path / ".partialabcd_123").mkdir()
    write_file(tmp_path / "file", b"one")
    assert names(tmp_path) == ["file"]


def test_no_file_of_the_user_goes(tmp_path):
    (tmp_path / ".partialabcdefgh").mkdir()
    (tmp_path / ".partialabcdefgh/thesis.tex").write_text("x")
    (tmp_path / ".partialabcdefg1").write_text("x")
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial pictures").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lock").write_text("x")
    (tmp_path / ".partialabcdefg2").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    write_file(tmp_path / "file", b"one")
    assert names(tmp_path) == sorted([*before, "file"])
    assert names(tmp_path / ".partialabcdefgh") == ["thesis.tex"]
    assert names(tmp_path / "elsewhere") == ["lock"]


def test_many_threads_write_into_one_folder(tmp_path):
    def write(number):
        for turn in range(5):
            write_file(tmp_path / f"file {number}", f"{turn}".encode())

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == [f"file {number}" for number in range(4)]
    assert {(tmp_path / name).read_text() for name in names(tmp_path)} == {"4"}


def test_the_names_are_those_that_are_made(tmp_path):
    with partial_folder(tmp_path) as made:
        assert is_partial(made.parent.name)
    assert not any(
        map(is_partial, (".partial", ".partials", "partialabcdefgh", ".partialABCDEFGH"))
    )


def test_a_file_is_synced_before_its_rename_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    replace = os.replace
    monkeypatch.setattr("os.fsync", lambda _: done.append("sync"))
    monkeypatch.setattr("os.replace", lambda *two: (done.append("rename"), replace(*two)))
    with new_file(tmp_path / "file") as partial:
        partial.write_bytes(b"x")
    assert done == ["sync", "rename", "sync"]


def test_what_safetensors_says_of_a_full_disk_is_one_line_too(tmp_path):
    from safetensors import SafetensorError

    with (
        pytest.raises(InputError, match=r"got No space left on device; free some space"),
        writing(tmp_path),
    ):
        raise SafetensorError("Error while serializing: I/O error: none left (os error 28)")
