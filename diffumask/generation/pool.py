"""Masks and files made in processes of their own, so that sampling need not share Python with them.

The workers are those of loky: fresh interpreters that never see the script that called, which so
needs no guard of its start.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

from diffumask.cores import n_cores
from diffumask.errors import InputError

T = TypeVar("T")
Submit = Callable[..., Future[Any]]

MOST = 8  # that are started unasked; they make more items a second than a GPU does
LATE = 16  # items made in this process before that: a worker takes as long to start
PARENT_CHECK_S = 0.5
DEATHS = 3  # of workers, in a row, after which a call is given up
# Each worker has one core; the libraries would take them all.
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "OPENCV_FOR_THREADS_NUM",
)


@contextmanager
def open_pool(asked: int | None) -> Iterator[tuple[Submit, int]]:
    """Open workers: give a function like `Executor.submit`, and how many calls it makes at once.

    `asked` is their number: 0 is a thread of this process, None as many as there are cores for,
    from the call on that they pay for. All calls are done when the context ends. They raise what
    the function does, and InputError where workers die of one again and again.
    """
    workers = min(MOST, n_cores() - 1) if asked is None else asked
    with ThreadPoolExecutor(1) as here:
        if workers < 1:
            yield here.submit, 1
            return
        left_here = LATE if asked is None else 0

        def submit(function: Callable[..., T], *args: Any) -> Future[T]:
            nonlocal left_here
            left_here -= 1
            if left_here >= 0:
                return here.submit(function, *args)
            return there.submit(crew.call, function, *args)

        with Crew(workers) as crew, ThreadPoolExecutor(workers) as there:
            yield submit, workers


class Crew:
    """Workers that are started by the first call, and again where one was killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changing = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(self._executor)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in a worker; return or raise as it does there."""
        for _ in range(DEATHS):
            executor = self._running()
            try:
                return executor.submit(function, *args).result()
            except BrokenProcessPool:  # whichever call it was that a worker died of
                self._drop(executor)
        raise InputError(
            f"expected workers that live, got some that died {DEATHS} times while they made masks; "
            "finished items are kept: make masks with fewer workers, or none"
        )

    def _running(self) -> ProcessPoolExecutor:
        with self._changing:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    self._workers,
                    initializer=_begin,
                    initargs=(os.getpid(),),
                    env=dict.fromkeys(ONE_THREAD, "1"),
                )
            return self._executor

    def _drop(self, executor: ProcessPoolExecutor | None) -> None:
        with self._changing:
            if executor is None or executor is not self._executor:
                return  # another call has
            self._executor = None
        executor.shutdown(wait=True, kill_workers=True)


def _begin(parent_pid: int) -> None:
    """Leave Ctrl-C to the process that started this worker, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        while os.getppid() == parent_pid:
            time.sleep(PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
