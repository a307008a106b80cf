"""Where and how much of a run is made: shards, workers, or nothing but an estimate."""

from dataclasses import dataclass
from typing import Annotated

from diffumask.dataset.shards import Shard, parse_shard
from diffumask.errors import InputError

from . import values
from .dry_run import check_gpu
from .option import MACHINES, OUTPUT, Option, Options

RESUME = ("auto", "never")


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options of a run beside what its items are."""

    PANEL = MACHINES

    shard: Annotated[str, Option("Make part i of k, for merge: 2/8.", default="all")] = "1/1"
    resume: Annotated[
        str,
        Option(
            "auto goes on with a folder; never refuses one with items.",
            values=RESUME,
            panel=OUTPUT,
        ),
    ] = "auto"
    ray: Annotated[
        str | None,
        Option(
            "Make items on Ray: local, auto or HOST:PORT.", default="off", values=("local", "auto")
        ),
    ] = None
    workers: Annotated[int | None, Option("Workers on Ray.", default="one per GPU, or CPU")] = None
    mask_workers: Annotated[
        int | None,
        Option(
            "Processes that make masks and files beside sampling; 0 is a thread, as for masks that "
            "need a network.",
            default="by cores, from the 17th item on",
            least=0,
        ),
    ] = None
    dry_run: Annotated[bool, Option("Tell items, time, memory and disk; start nothing.")] = False
    gpu: Annotated[
        str | None,
        Option("GPU that a dry run counts with: A100, L4, ...", default="none", values=values.gpus),
    ] = None
    pace_s: Annotated[
        float | None,
        Option("Seconds of an image, for a dry run.", name="pace", default="estimated"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gpu(self.gpu, self.pace_s)
        if (self.gpu or self.pace_s) and not self.dry_run:
            raise InputError("expected a GPU and a pace with a dry run, got them without")
        if self.workers is not None and (self.ray is None or self.workers < 1):
            raise InputError(f"expected workers of 1 or more, on Ray, got {self.workers}")
        if self.ray is not None:
            from diffumask.generation.ray_address import parse_address

            parse_address(self.ray)
        if self.mask_workers is not None and self.ray is not None:
            raise InputError(
                f"expected no number of mask workers on Ray, whose workers make their masks "
                f"themselves, got {self.mask_workers}; leave one of the two out"
            )
        if self.resume not in RESUME:
            raise InputError(f"expected resume {' or '.join(RESUME)}, got {self.resume!r}")
        parse_shard(self.shard)

    @property
    def part(self) -> Shard:
        """The part of the run that is made."""
        return parse_shard(self.shard)
