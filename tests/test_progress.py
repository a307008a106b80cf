"""What is shown of what goes on: names, counts, pace, and for how long it will take."""

import logging
import re
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call

import diffumask
from diffumask.api import display
from diffumask.api.pace import Counted, Pace, Phase
from diffumask.api.progress import opening, phase, progress, step_progress
from diffumask.api.training_length import most_steps
from diffumask.models.registry import ModelSpec, model_folder
from diffumask.sampling.sample import SampleSettings, sample
from diffumask.types import Prompt, Target


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock that the pace goes by."""
    found = Clock()
    monkeypatch.setattr("diffumask.api.pace.now", found)
    return found


class Kept(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines(monkeypatch):
    """The lines of the log, which come at once."""
    monkeypatch.setattr(display, "FIRST_LINE_S", 0.01)
    monkeypatch.setattr(display, "LAST_GAP_S", 0.01)
    kept, log = Kept(), logging.getLogger("diffumask")
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(kept)
    yield kept.lines
    log.removeHandler(kept)
    log.setLevel(before)


def wait_for(lines, start):
    """Wait for a line that starts so, which a thread writes."""
    until = time.monotonic() + 20
    while not any(line.startswith(start) for line in list(lines)):
        assert time.monotonic() < until, lines
        time.sleep(0.01)


def test_a_phase_that_takes_long_is_named_while_it_lasts(lines):
    with phase("loading", then="finishing"):
        wait_for(lines, "loading ...")
        with phase("writing the report"):
            wait_for(lines, "writing the report ...")
        with progress("images", 1) as advance:
            advance(1)
        wait_for(lines, "finishing ...")
    n_lines = len(lines)
    time.sleep(0.05)
    assert len(lines) == n_lines
    assert display.THREAD not in [thread.name for thread in threading.enumerate()]


def test_what_is_over_soon_is_not_named(caplog):
    caplog.set_level("INFO", "diffumask")
    with phase("loading"):
        pass
    assert caplog.messages == []


def test_steps_are_shown_before_the_first_of_the_items_is_done(lines):
    with progress("images", 8, each="image") as advance:
        wait_for(lines, "images 0/8")
        advance.on_phase("sampling", 3, 20)
        wait_for(lines, "images 0/8, sampling 3/20")
        advance.on_phase("sampling", 20, 20)
        advance(4)
        advance.on_phase("masks", 1, 4)
        wait_for(lines, "images 4/8, masks 1/4, ")
    assert lines[-1].startswith("images 4/8, masks 1/4, ")


def test_the_pace_is_of_steps_until_there_are_items(clock):
    counted = Counted("images", Pace(8, 0, "image"))
    counted.see("sampling", 0, 20)
    clock.now += 6
    counted.see("sampling", 3, 20)
    assert str(counted) == "images 0/8, sampling 3/20, 2 s/step"
    counted.see("sampling", 20, 20)
    clock.now += 14
    counted.pace.advance(4)
    assert str(counted) == "images 4/8, 5 s/image, 20 s left"
    counted.pace.advance(4)
    assert str(counted) == "images 8/8, 2.5 s/image"


def test_a_phase_says_for_how_long_it_has_lasted(clock):
    loading = Phase("loading sd15")
    assert str(loading) == "loading sd15 ..."
    clock.now += 130
    assert str(loading) == "loading sd15 ... 2 min"


def test_a_training_says_beforehand_how_long_it_takes(caplog, clock):
    caplog.set_level("INFO", "diffumask")
    with step_progress("training", at_most=True) as on_step:
        on_step(100, 500)  # by an earlier run
        for step in range(101, 111):
            clock.now += 0.6
            on_step(step, 500)
    assert caplog.messages[0] == "training: about 4 min for 395 steps at most"
    assert caplog.messages[1] == "training 110/500, 0.6 s/step, 4 min left"
    caplog.clear()
    with step_progress("training") as on_step:
        for step in range(6):
            clock.now += 1
            on_step(step, 10)
    assert caplog.messages == ["training 5/10, 1 s/step, 5 s left"]  # soon over


def test_the_end_of_a_training_may_come_nearer(caplog):
    caplog.set_level("INFO", "diffumask")
    with step_progress("training") as on_step:
        on_step(0, 1000)
        on_step(1, 2)
        on_step(2, 2)
    assert caplog.messages[-1].startswith("training 2/2, ")


def test_a_context_is_named_only_while_it_is_entered(lines):
    with opening("loading tiny", phase("a")), phase("b"):
        wait_for(lines, "b ...")


def test_nothing_is_shown_where_the_log_is_quiet(lines, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    logging.getLogger("diffumask").setLevel(logging.ERROR)
    with phase("loading"), progress("images", 2) as advance:
        advance(2)
    assert lines == []
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_names_steps_and_counts(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with phase("loading tiny"):
        time.sleep(0.5)
        with progress("images", 8, each="image") as advance:
            advance.on_phase("sampling", 3, 20)
            time.sleep(0.5)
            advance(8)
    shown = capsys.readouterr().err
    assert "loading tiny ..." in shown
    assert "sampling 3/20" in shown
    assert "images 8/8, " in shown


def test_a_program_without_a_terminal_sees_nothing(capfd, tmp_path, tiny_random_folder):
    assert not sys.stderr.isatty()
    small: dict[str, Any] = {"num_inference_steps": 1, "height": 16, "width": 16}
    diffumask.generate(
        classes=["bird"], n=1, model=str(tiny_random_folder), out=tmp_path / "out", **small
    )
    assert capfd.readouterr() == ("", "")


def test_who_is_told_of_the_steps_gets_the_same_samples(pipe):
    settings = SampleSettings(3, 4.0, 64, 48)
    prompt = Prompt("a bird on grass", (Target("bird", "bird", 1),))
    told = []
    (plain,) = sample(pipe, [prompt], [5], settings)
    (watched,) = sample(pipe, [prompt], [5], settings, lambda *now: told.append(now))
    steps = [now[1:] for now in told if now[0] == "sampling"]
    assert steps[:4] == [(step, 3) for step in range(4)]
    assert np.array_equal(plain.image, watched.image)
    assert np.array_equal(plain.heats["bird"], watched.heats["bird"])


def test_generate_names_sampling_masks_and_writing(tiny_random_folder, tmp_path, monkeypatch):
    told: list[str] = []
    see = Counted.see

    def noted(self: Counted, what: str, done: int, total: int) -> None:
        told.append(what)
        see(self, what, done, total)

    monkeypatch.setattr(Counted, "see", noted)
    words = ["--num-inference-steps", 1, "--height", 16, "--width", 16, "--out", tmp_path / "out"]
    result = call("generate", "--class", "bird", "--n", 1, "--model", tiny_random_folder, *words)
    assert result.exit_code == 0, result.output
    assert list(dict.fromkeys(told)) == ["sampling", "decoding", "masks", "writing"]


def test_every_count_has_a_name():
    sources = [path.read_text("utf-8") for path in Path("diffumask/api").glob("*.py")]
    calls = [call for source in sources for call in re.findall(r"\bprogress\((.)", source)]
    assert calls
    assert set(calls) <= {'"', "n"}  # a name, or the declaration itself


@pytest.mark.parametrize(
    ("n_images", "batch_size", "steps"),
    [(1, 16, 150), (24, 16, 150), (100, 16, 375), (667, 16, 1000), (10**6, 16, 1000), (9, 0, 540)],
)
def test_the_length_of_a_training_follows_from_its_images(n_images, batch_size, steps):
    assert most_steps(n_images, batch_size) == steps


def test_a_download_has_the_terminal_to_itself(monkeypatch, tmp_path):
    seen = []

    class Shown(display.Display):
        @contextmanager
        def paused(self):
            seen.append("paused")
            yield
            seen.append("shown again")

    @contextmanager
    def opened(log):
        yield Shown()

    def download(*_, **__):
        seen.append("download")
        return str(tmp_path)

    monkeypatch.setattr("diffumask.api.progress.open_display", opened)
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    spec = ModelSpec("x", "owner/x", 64, 48)
    with phase("loading"):
        assert model_folder(spec) == tmp_path
    assert seen == ["paused", "download", "shown again"]
    assert model_folder(spec) == tmp_path
    assert seen[3:] == ["download"]
