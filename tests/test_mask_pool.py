"""Masks and files made in worker processes: the same bytes, and what happens when one is killed."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import commands
import numpy as np
import psutil
import pytest
from diffusers import DiffusionPipeline

from diffumask.api.generate import GenerateOptions
from diffumask.dataset.listing import read_records
from diffumask.dataset.store import open_store
from diffumask.errors import InputError
from diffumask.generation import pipeline, pool
from diffumask.generation.masking import GenerateSettings
from diffumask.generation.pipeline import generate
from diffumask.generation.plan import plan
from diffumask.generation.pool import Crew, open_pool
from diffumask.masks.enlarge import enlarge
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import MaskSource
from diffumask.sampling.settings import SampleSettings
from diffumask.types import Prompt, Sample, Target

NO_PIPE = DiffusionPipeline.__new__(DiffusionPipeline)  # the stub of sample never looks at it
SIZE_HW = (32, 48)
SETTINGS = GenerateSettings(
    "stub", SampleSettings(2, 5.0, *SIZE_HW), batch_size=2, keep_maps=True, redraw=2
)
WAIT_S = 60.0


def prompt_of(item):
    return Prompt("a bird", (Target("bird", "bird", 3),), "", f"context {item.seed % 7}")


def stub_sample(pipe, prompts, seeds, sampling, on_phase=None):
    """A box of heat in noise; some seeds have none, and are drawn again."""
    samples = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        rng = np.random.default_rng(seed)
        heat = np.zeros((8, 12), np.float32)
        heat[2:6, 3 : int(rng.integers(5, 10))] = seed % 3 > 0
        image = rng.integers(0, 256, (*SIZE_HW, 3), np.uint8)
        samples.append(Sample(prompt, seed, image, {"bird": heat}, {"bird": heat}))
    return samples


@pytest.fixture(autouse=True)
def stubbed(monkeypatch):
    monkeypatch.setattr(pipeline, "sample", stub_sample)


def batches(folder, n=7, **changes):
    with open_store(folder, {"seed": 0}, {"bird": 3}, {}) as store:
        items = plan(["bird"], n, 0)
        yield from generate(NO_PIPE, items, prompt_of, store, replace(SETTINGS, **changes))


def workers():
    """The processes that serve a pool of this one."""
    below = psutil.Process().children(recursive=True)
    return [one for one in below if one.status() != psutil.STATUS_ZOMBIE and is_worker(one)]


def is_worker(process):
    return any("loky" in word and "popen" in word for word in process.cmdline())


@pytest.mark.parametrize("mask_workers", [1, 2])
def test_workers_change_no_byte(tmp_path, mask_workers):
    assert sum(map(len, batches(tmp_path / "none"))) == 7
    examples = [one for b in batches(tmp_path / "some", mask_workers=mask_workers) for one in b]
    assert commands.contents(tmp_path / "some") == commands.contents(tmp_path / "none")
    assert {1, None} <= {one.attempt for one in read_records(tmp_path / "some")}
    assert {one.seed for one in examples} == {one.seed for one in read_records(tmp_path / "some")}
    assert not workers()


def test_a_worker_that_is_killed_is_started_again_and_a_run_that_is_stopped_goes_on(tmp_path):
    run = batches(tmp_path / "killed", mask_workers=1)
    next(run)
    (worker,) = workers()
    worker.kill()
    next(run)
    run.close()
    assert not workers()
    assert 4 <= len(read_records(tmp_path / "killed")) < 7
    list(batches(tmp_path / "killed", mask_workers=1))
    list(batches(tmp_path / "none"))
    assert commands.contents(tmp_path / "killed") == commands.contents(tmp_path / "none")


def test_a_call_that_kills_each_worker_is_given_up_in_one_line():
    with Crew(1) as crew, pytest.raises(InputError, match="that died 3 times") as caught:
        crew.call(os._exit, 9)
    assert "\n" not in str(caught.value)
    assert not workers()


def test_what_a_call_raises_or_prints_does_not_disturb_the_next(capfd):
    with Crew(1) as crew:
        with pytest.raises(InputError, match=r"^expected finite heat, got nan"):
            crew.call(enlarge, np.full((2, 2), np.nan, np.float32), SIZE_HW)
        crew.call(print, "words")
        assert crew.call(sorted, [2, 1]) == [1, 2]
    assert not workers()


SCRIPT = """
import os, time
from diffumask.generation.pool import Crew

print("started", flush=True)
with Crew(1) as crew:
    try:
        print(crew.call(abs, -1), crew.call(os.getpid), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print(crew.call(abs, -2), crew.call(os.getpid), flush=True)
        time.sleep(60)
"""


def test_a_script_without_a_guard_is_run_once_and_its_worker_outlives_ctrl_c_but_not_it(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "mine.py")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        value, pid = process.stdout.readline().split()
        worker = psutil.Process(int(pid))
        os.killpg(process.pid, signal.SIGINT)
        assert (value, process.stdout.readline().split()) == ("1", ["2", pid])
        process.kill()
        assert process.communicate()[0] == ""
    worker.wait(WAIT_S)


class Seeing:
    """A source of masks, that could look with a network."""

    def __call__(self, sample):
        return sample.objects

    def watching(self, pipe, prompts):
        return nullcontext([])


def test_unasked_the_first_items_are_made_here_and_start_no_worker(monkeypatch):
    monkeypatch.setattr(pool, "n_cores", lambda: 2)
    pids = []
    with open_pool(None) as (submit, at_once):
        for _ in range(pool.LATE + 1):
            pids.append(submit(os.getpid))
    assert at_once == 1
    *here, last = [one.result() for one in pids]
    assert set(here) == {os.getpid()} != {last}


@pytest.mark.parametrize(
    "masks",
    [
        MaskSettings(refiner="sam:folder"),
        MaskSettings(affinity_of=lambda image, heat: heat),
        MaskSettings(source=MaskSource(Seeing(), fused=False)),
    ],
)
def test_masks_that_need_a_network_are_made_here(tmp_path, monkeypatch, masks):
    opened = []
    monkeypatch.setattr(pipeline, "open_pool", lambda workers: opened.append(workers))
    with pytest.raises(TypeError):  # None is no context
        next(batches(tmp_path, masks=masks, mask_workers=2))
    assert opened == [0]


def test_what_makes_items_loads_no_torch():
    code = (
        "import sys, diffumask.generation.masking; print({'torch', 'diffusers'} & {*sys.modules})"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_one_core_starts_no_worker(monkeypatch):
    monkeypatch.setattr(pool, "n_cores", lambda: 1)
    with open_pool(None) as (submit, _):
        pids = {submit(os.getpid).result() for _ in range(pool.LATE + 1)}
    assert pids == {os.getpid()}


@pytest.mark.parametrize(("changes", "at_once"), [({"batch_size": 1}, 3), ({"batch_size": 2}, 2)])
def test_sampling_is_ahead_by_no_more_than_the_pool_makes_at_once(
    tmp_path, monkeypatch, changes, at_once
):
    """Workers that never answer before sampling waits for them."""
    sampled, held = [], threading.Event()

    def counted(*given):
        sampled.append(given)
        return stub_sample(*given)

    @contextmanager
    def slow(workers):
        with ThreadPoolExecutor(3) as executor:
            yield lambda *call: executor.submit(lambda: held.wait() and call[0](*call[1:])), 3

    monkeypatch.setattr(pipeline, "sample", counted)
    monkeypatch.setattr(pipeline, "open_pool", slow)
    threading.Timer(0.2, held.set).start()
    run = batches(tmp_path, n=20, redraw=0, **changes)
    next(run)
    assert len(sampled) == at_once + 1
    run.close()


def test_workers_for_masks_are_not_for_ray():
    with pytest.raises(InputError, match="no number of mask workers on Ray"):
        GenerateOptions(classes=["bird"], mask_workers=2, ray="local")
    with pytest.raises(InputError, match="-1"):
        GenerateOptions(classes=["bird"], mask_workers=-1)
