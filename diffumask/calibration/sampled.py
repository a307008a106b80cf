"""Cases to calibrate on, sampled anew: the attention of each in every combination."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from diffusers import DiffusionPipeline

from diffumask.attention.aggregate import MERGES, localizing_weights
from diffumask.attention.defaults import MERGE
from diffumask.attention.running_means import Attention
from diffumask.sampling.sample import SampleSettings, enough_memory, heat_maps, sample_attention
from diffumask.types import Prompt

from .cases import AFFINITY, ATTENTION, Case, Combination, make_case

PLAIN = [Combination(heat=ATTENTION)]


@dataclass(frozen=True, slots=True)
class Job:
    """An item to sample."""

    name: str
    prompt: Prompt
    seed: int


def sampled_cases(
    pipe: DiffusionPipeline,
    jobs: Iterable[Job],
    settings: SampleSettings,
    batch_size: int,
    combine_all: bool,
) -> Iterator[Case]:
    """Sample jobs in batches, with heat in all `combinations` if `combine_all`, else `PLAIN`.

    The merge, weights and affinity of the settings do not count.
    """
    settings = replace(settings, affinity=True)
    waiting = iter(jobs)
    while batch := list(islice(waiting, batch_size)):
        prompts, seeds = [job.prompt for job in batch], [job.seed for job in batch]
        with enough_memory(len(batch), settings):
            images, attention, *_ = sample_attention(pipe, prompts, seeds, settings)
        ways = combinations(attention) if combine_all else PLAIN
        maps = [heat_maps(attention, way.merge, way.weights) for way in ways]
        for job, image, *of_image in zip(batch, images, *maps, strict=True):
            of_ways = list(zip(ways, of_image, strict=True))
            for target in job.prompt.targets:
                yield make_case(job.name, target, image, of_ways)


def combinations(attention: Attention) -> list[Combination]:
    """List the ways to combine attention that calibration chooses from, the default first.

    The others differ in one thing: the heat, the merge of a word's tokens, or the grids that
    count, which are every run of neighbouring sizes with equal weights.
    """
    factors = sorted(attention.factors.values())
    ends = range(1, len(factors) + 1)
    runs = [factors[start:end] for end in ends for start in range(end)]
    weights = [dict.fromkeys(run, 1.0) for run in runs]
    default, localizing = Combination(), localizing_weights(attention)
    return [
        default,
        *(Combination(heat=heat) for heat in (ATTENTION, AFFINITY) if heat != default.heat),
        *(Combination(merge) for merge in MERGES if merge != MERGE),
        *(Combination(MERGE, of_run) for of_run in weights if of_run != localizing),
    ]
