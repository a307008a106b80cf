"""Cases to calibrate on, sampled anew: the attention of each as every setting reads it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from diffusers import DiffusionPipeline

from diffumask.attention.aggregate import localizing_weights
from diffumask.attention.running_means import Attention
from diffumask.sampling.sample import (
    SampleSettings,
    enough_memory,
    sample_attention,
    samples_of,
)
from diffumask.types import OnPhase, Prompt, Sample, unseen_phase

from .cases import Case
from .setting import Setting, near

POWERS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Job:
    """An item to sample."""

    name: str
    prompt: Prompt
    seed: int


def sampled_cases(
    pipe: DiffusionPipeline,
    jobs: Iterable[Job],
    sampling: SampleSettings,
    batch_size: int,
    on_phase: OnPhase = unseen_phase,
) -> Iterator[Case]:
    """Sample jobs in batches, each read in all `settings_of` its attention.

    The merge, weights and power of `sampling` do not count.
    """
    waiting = iter(jobs)
    while batch := list(islice(waiting, batch_size)):
        prompts, seeds = [job.prompt for job in batch], [job.seed for job in batch]
        with enough_memory(len(batch), sampling):
            sampled = sample_attention(pipe, prompts, seeds, sampling, on_phase)
        settings = settings_of(sampled.attention)
        read: dict[str, list[Sample]] = {}  # settings that read attention alike share samples
        for setting in settings:
            key, how = repr(setting.heat_made), replace(sampling, **setting.heat_made)
            if key not in read:
                read[key] = samples_of(pipe, sampled, prompts, seeds, how)
        for index, job in enumerate(batch):
            samples = [(one, read[repr(one.heat_made)][index]) for one in settings]
            first = {target.class_name: target for target in reversed(job.prompt.targets)}
            for target in first.values():
                yield Case(job.name, target, samples)


def settings_of(attention: Attention) -> list[Setting]:
    """List the settings that calibration chooses from, the default first.

    The others differ in one thing: those of `near`, the power of propagation, or the grids that
    count, which are every run of neighbouring sizes with equal weights.
    """
    default = Setting()
    factors = sorted(attention.factors.values())
    ends = range(1, len(factors) + 1)
    runs = [factors[start:end] for end in ends for start in range(end)]
    weights = [dict.fromkeys(run, 1.0) for run in runs]
    localizing = localizing_weights(attention)
    return [
        *near(default),
        *(replace(default, power=power) for power in POWERS if power != default.power),
        *(replace(default, weights=of_run) for of_run in weights if of_run != localizing),
    ]
