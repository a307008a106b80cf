"""The training loop: exact resuming, its log, what it refuses."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from diffumask.errors import InputError
from diffumask.training import Schedule, train
from diffumask.training.folder import TrainingFolder
from diffumask.training.state import step_reached

pytestmark = pytest.mark.numeric


class PowerCutError(Exception):
    """Stands for a machine that goes away in the middle of a training."""


def train_linear(folder: Path, stop_at: int | None = None) -> list[float]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_at(step: int) -> torch.Tensor:
        if step == stop_at:
            raise PowerCutError
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    schedule = Schedule(12, 0.1, warmup_steps=2, checkpoint_every=5, log_every=4)
    try:
        train(model, loss_at, schedule, folder)
    except PowerCutError:
        return train_linear(folder)
    return [value for parameter in model.parameters() for value in parameter.flatten().tolist()]


def test_resumed_training_equals_an_uninterrupted_one(tmp_path):
    assert train_linear(tmp_path / "cut", stop_at=8) == train_linear(tmp_path / "whole")


def test_a_state_from_before_plateaus_were_looked_for_goes_on(tmp_path):
    schedule = Schedule(4, 0.1, warmup_steps=2, checkpoint_every=4)
    train(*linear(), schedule, tmp_path)
    state = tmp_path / "state.safetensors"
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
    old = {name: one for name, one in load_file(state).items() if not name.startswith("course.")}
    save_file(old, state, metadata)
    assert train(*linear(), Schedule(6, 0.1, warmup_steps=2, checkpoint_every=4), tmp_path) == 6


def test_training_logs_its_loss(tmp_path):
    train_linear(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]


def test_training_stops_at_a_loss_that_is_not_finite(tmp_path):
    model = nn.Linear(3, 1)
    schedule = Schedule(9, 0.1, checkpoint_every=2, log_every=3)

    def loss_at(step: int) -> torch.Tensor:
        return model(torch.ones(1, 3)).mean() * (math.nan if step == 5 else 1)

    with pytest.raises(InputError, match="finite loss, got nan before step 6"):
        train(model, loss_at, schedule, tmp_path)
    with safe_open(tmp_path / "state.safetensors", "pt") as state:
        assert state.metadata()["step"] == "4"


def test_a_training_that_comes_apart_ends_and_keeps_its_last_state(tmp_path):
    model = nn.Linear(2, 1)
    schedule = Schedule(40, 1e-3, log_every=5, checkpoint_every=10, diverged_ratio=1.5)

    def loss_at(step: int) -> torch.Tensor:
        return model.weight.square().sum() * 0 + (1.0 if step < 25 else 4.0)

    with pytest.raises(InputError, match=r"a loss near 1, got 4 at step 30; .* lower learning"):
        train(model, loss_at, schedule, tmp_path)
    assert step_reached(tmp_path) == 20


def test_training_leaves_frozen_parameters_alone(tmp_path):
    frozen, trained = nn.Linear(3, 2), nn.Linear(2, 1)
    frozen.requires_grad_(False)
    model = nn.Sequential(frozen, trained)
    before = frozen.weight.clone(), trained.weight.clone()
    train(model, lambda step: model(torch.ones(1, 3)).square().mean(), Schedule(3, 0.1), tmp_path)
    assert torch.equal(frozen.weight, before[0])
    assert not torch.equal(trained.weight, before[1])


def test_rate_warms_up_stays_and_decays():
    schedule = Schedule(100, 1.0, warmup_steps=10, decay_share=0.2)
    factors = [schedule.rate_factor(step) for step in (0, 9, 50, 90, 99)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.05])


def train_to_plateau(folder, stop_at=None, noise=0.1):
    """Train on a loss that soon falls no further; return the steps it took, and the weights."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_at(step):
        if step == stop_at:
            raise PowerCutError
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(4, 3, generator=generator)
        blur = noise * torch.randn(4, 1, generator=generator)
        return (model(inputs) - inputs.sum(1, keepdim=True) + blur).square().mean()

    schedule = Schedule(400, 0.1, warmup_steps=2, checkpoint_every=7, log_every=5, patience=3)
    told = []
    try:
        steps = train(model, loss_at, schedule, folder, on_step=lambda *now: told.append(now))
    except PowerCutError:
        return train_to_plateau(folder)
    return steps, told, torch.cat([one.flatten() for one in model.parameters()]).tolist()


def test_a_training_ends_at_its_plateau_and_its_rate_falls_before(tmp_path):
    steps, told, _ = train_to_plateau(tmp_path)
    assert 20 / 0.65 < steps < 300
    assert told[-1] == (steps, steps)
    assert told[0] == (0, 400)
    seen_at = [step for step, end in told if end == 400][-1]
    assert steps == math.ceil(seen_at / 0.65)
    assert Schedule(steps, 1.0, warmup_steps=2).rate_factor(seen_at) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("stop_at", [9, -3])
def test_a_resumed_training_ends_at_the_same_plateau(tmp_path, stop_at):
    steps, _, weights = train_to_plateau(tmp_path / "whole")
    cut = train_to_plateau(tmp_path / "cut", stop_at % steps)
    assert (cut[0], cut[2]) == (steps, weights)
    logs = [
        [
            (line["step"], line["loss"])
            for line in map(json.loads, (tmp_path / one / "log.jsonl").read_text().splitlines())
        ]
        for one in ("whole", "cut")
    ]
    assert logs[0] == logs[1]


def test_a_checkpoint_that_is_good_enough_lets_the_rate_fall():
    model, loss_at = linear()
    schedule = Schedule(100, 1e-2, warmup_steps=1, checkpoint_every=10)
    assert train(model, loss_at, schedule, on_checkpoint=lambda step: step >= 20) == 31
    assert train(model, loss_at, schedule, on_checkpoint=lambda step: step >= 90) == 100


def test_parts_of_a_step_have_the_gradient_of_their_mean():
    def trained(num_parts: int) -> list[float]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        inputs = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))

        def loss_at(step: int) -> torch.Tensor:
            batch = inputs.view(-1, 4 * 2 // num_parts, 3)[step]
            return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

        train(model, loss_at, Schedule(3, 0.1, warmup_steps=1, accumulation_steps=num_parts))
        return [value for one in model.parameters() for value in one.flatten().tolist()]

    assert trained(2) == pytest.approx(trained(1), rel=1e-5)


def test_only_the_first_process_leaves_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    model = nn.Linear(3, 1)
    schedule = Schedule(2, 0.1, log_every=1, checkpoint_every=1)
    seen = []

    def loss_at(step):
        return model(torch.ones(1, 3)).mean()

    train(model, loss_at, schedule, tmp_path, seen.append)
    assert not list(tmp_path.iterdir())
    assert not seen


SHARED_TRAINING = """
import torch
from safetensors.torch import save_file
from torch import nn
from diffumask.training import Schedule, shared, train

torch.manual_seed(0)
model = nn.Linear(3, 1)
together, rank, num_ranks = shared(model, torch.device("cpu"))

def loss_at(step):
    generator = torch.Generator().manual_seed(step * num_ranks + rank)
    inputs = torch.randn(4, 3, generator=generator)
    return (together(inputs) - inputs.sum(1, keepdim=True)).square().mean()

train(model, loss_at, Schedule(6, 0.1, warmup_steps=2, accumulation_steps=2 // num_ranks))
if rank == 0:
    save_file(model.state_dict(), trained)
"""


def run_in_two_processes(code: str, folder: Path) -> None:
    """Run code as each of two processes that a launcher has started, which meet by a file.

    No port and no name of the machine has to be free or known for that; where two processes
    cannot talk even so, the test is skipped.
    """
    met = f"""
import sys
from datetime import timedelta
import torch.distributed as processes
given = dict(init_method="file://{folder}/met", rank=int(sys.argv[1]), world_size=2)
try:
    processes.init_process_group("gloo", timeout=timedelta(minutes=2), **given)
    processes.barrier()
except Exception as error:
    sys.exit(f"CANNOT TALK {{error}}")
"""
    script = folder / "script.py"
    script.write_text(met + code + "\nprocesses.destroy_process_group()\n")
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    given = os.environ | {"WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": loopback}
    given |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "OMP_NUM_THREADS": "1"}
    launched = [
        subprocess.Popen(
            [sys.executable, script, str(rank)],
            env=given | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in launched]
    if any("CANNOT TALK" in text for text in said):
        pytest.skip(said[0])
    assert [process.returncode for process in launched] == [0, 0], said


def test_two_processes_share_a_step_as_one_that_accumulates_does(tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    exec(SHARED_TRAINING, {"trained": one})
    run_in_two_processes(f"trained = {str(two)!r}\n{SHARED_TRAINING}", tmp_path)
    expected = load_file(one)
    assert expected["weight"].abs().max() > 0.1
    for name, value in load_file(two).items():
        assert torch.allclose(value, expected[name], atol=1e-5)


def linear():
    """A model and its loss at a step."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss_at(step: int) -> torch.Tensor:
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    return model, loss_at


def test_lines_of_a_log_are_not_there_twice_after_a_kill(tmp_path):
    schedule = Schedule(6, 1e-2, warmup_steps=1, log_every=1, checkpoint_every=2)
    log = tmp_path / "log.jsonl"

    def killed_at(step):
        def see(done, num_steps):
            if done == step:
                raise PowerCutError

        return see

    for step in (3, 5, None):
        try:
            train(*linear(), schedule, tmp_path, on_step=killed_at(step))
        except PowerCutError:
            with log.open("a") as file:
                file.write('{"step": 9, "lo')
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_disk_without_room_for_the_state_is_one_line_and_keeps_the_last(tmp_path):
    import resource

    schedule = Schedule(4, 1e-2, warmup_steps=1, checkpoint_every=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(step, num_steps):
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))

    try:
        with pytest.raises(InputError, match=r"expected to write to .*, got File too large"):
            train(*linear(), schedule, tmp_path, on_step=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert step_reached(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"model.weight": torch.zeros(1, 3)}, path),
        lambda path: save_file({"x": torch.zeros(1)}, path, {"step": "x", "ema_step": "1"}),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_state_that_is_torn_or_of_another_model_is_one_line(tmp_path, spoil):
    train_linear(tmp_path)
    spoil(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match=r"state of this training in .*; take it out to begin"):
        train_linear(tmp_path)


@pytest.fixture
def place(tmp_path):
    """The folder of a training, begun with a seed of 0, of which a step is kept."""
    place = TrainingFolder(tmp_path / "x", "diffumask train", ("big",), tmp_path / "product")
    with place.held({"seed": 0, "size": (1, 2)}):
        (place.path / "big").touch()
        save_file({"x": torch.zeros(1)}, place.path / "state.safetensors", {"step": "1"})
    return place


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_training_goes_on_with_its_own_settings_alone(place):
    with place.held({"seed": 0, "size": (1, 2)}) as is_finished:
        assert not is_finished
    match = (
        r"settings that .*x was begun with, got another seed \(0, now 1\), side \(None, now 3\);"
    )
    with pytest.raises(InputError, match=match), place.held({"seed": 1, "size": [1, 2], "side": 3}):
        pass
    assert names(place.path) == {"train.json", "state.safetensors", "big", ".lock"}


def test_settings_can_change_as_long_as_no_step_is_kept(place):
    (place.path / "state.safetensors").unlink()
    with place.held({"seed": 1}):
        assert names(place.path) == {"train.json", ".lock"}


def test_a_finished_training_keeps_no_state_and_is_not_done_again(place):
    product = place.product
    product.touch()
    place.finish()
    assert names(place.path) == {"train.json", ".lock"}
    with place.held({"seed": 0, "size": (1, 2)}) as is_finished:
        assert is_finished
    with pytest.raises(InputError, match="another seed"):
        place.check({"seed": 1, "size": (1, 2)})
    product.unlink()
    with place.held({"seed": 1}) as is_finished:
        assert not is_finished
    product.touch()
    assert not place.check({"seed": 1})


def test_an_interrupt_says_where_the_state_is(place):
    with (
        pytest.raises(KeyboardInterrupt, match=r"last state is in .*x; run again to go on"),
        place.held({"seed": 0, "size": (1, 2)}),
    ):
        raise KeyboardInterrupt


def test_a_folder_that_another_training_holds_is_refused(place):
    with (
        place.held({"seed": 0, "size": (1, 2)}),
        pytest.raises(InputError, match="another run that writes to it"),
        place.held({"seed": 0, "size": (1, 2)}),
    ):
        pass


def test_a_folder_of_something_else_stays_as_it_is(place, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "diary.txt").touch()
    match = "empty folder or one of diffumask train, got .* with 'diary.txt' in it"
    with (
        pytest.raises(InputError, match=match),
        TrainingFolder(foreign, "diffumask train").held({}),
    ):
        pass
    assert names(foreign) == {"diary.txt"}
    with pytest.raises(InputError, match=r"train.json of diffumask lora train, got another"):
        TrainingFolder(place.path, "diffumask lora train").check({"seed": 0})
    with pytest.raises(InputError, match="got the file"):
        TrainingFolder(foreign / "diary.txt", "diffumask train").check({})


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 9999, b'{"made_by": 1}'])
def test_a_training_folder_with_torn_settings_is_one_line(tmp_path, content):
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(InputError, match=r"expected .*train.json of diffumask train, got another"):
        TrainingFolder(tmp_path, "diffumask train").check({})
