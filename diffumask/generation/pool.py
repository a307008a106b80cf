"""Masks and files made in processes of their own, so that sampling need not share Python with them.

A worker is a fresh interpreter at the end of two pipes. It never sees the script that called, which
so needs no guard of its start, and it ends when its pipe is closed: also where this process was
killed. One that is killed itself is started again and its call made again.
"""

import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import LifoQueue
from typing import IO, Any, TypeVar

from diffumask.cores import n_cores
from diffumask.errors import InputError, in_one_line

T = TypeVar("T")
Submit = Callable[..., Future[Any]]

MOST = 8  # that are started unasked; they make more items a second than a GPU does
LATE = 16  # items made in this process before that: a worker takes as long to start
DEATHS = 3  # of workers, in a row, after which a call is given up
START = "from diffumask.generation.pool import serve; serve()"
# Each worker has one core; the libraries would take them all.
ONE_THREAD = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    "OPENCV_FOR_THREADS_NUM",
)
LENGTH = struct.Struct("<Q")  # before what is sent


@contextmanager
def open_pool(asked: int | None) -> Iterator[tuple[Submit, int]]:
    """Open workers: give a function like `Executor.submit`, and how many calls it makes at once.

    `asked` is their number: 0 is a thread of this process, None as many as there are cores for,
    from the call on that they pay for. Functions are those of a module, and what goes in and out
    is pickled. All calls are done when the context ends. They raise what the function does, and
    InputError where workers die of one again and again.
    """
    workers = min(MOST, n_cores() - 1) if asked is None else asked
    if workers < 1:
        with ThreadPoolExecutor(1) as here:
            yield here.submit, 1
        return
    idle: LifoQueue[Worker] = LifoQueue()
    for worker in (every := [Worker() for _ in range(workers)]):
        idle.put(worker)

    def call(function: Callable[..., T], *args: Any) -> T:
        worker = idle.get()
        try:
            return worker.call(function, *args)
        finally:
            idle.put(worker)

    left_here = LATE if asked is None else 0

    def submit(function: Callable[..., T], *args: Any) -> Future[T]:
        nonlocal left_here
        left_here -= 1
        return (
            here.submit(function, *args) if left_here >= 0 else there.submit(call, function, *args)
        )

    try:
        with ThreadPoolExecutor(1) as here, ThreadPoolExecutor(workers) as there:
            yield submit, workers
    finally:
        for worker in every:
            worker.close()


class Worker:
    """A process that makes one call at a time; started by the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of a module in the worker; return or raise as it does there."""
        request = pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)
        for _ in range(DEATHS):
            try:
                is_value, told = pickle.loads(self._ask(request))
            except (EOFError, OSError):  # pipes end where a worker died
                self.close()
            else:
                if is_value:
                    return told
                raise told
        raise InputError(
            f"expected workers that live, got one that died {DEATHS} times while it made masks; "
            "finished items are kept: make masks with fewer workers, or none"
        )

    def _ask(self, request: bytes) -> bytes:
        process = self._process = self._process or _started()
        assert process.stdin is not None
        assert process.stdout is not None
        _send(process.stdin, request)
        return _received(process.stdout)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()


def _started() -> subprocess.Popen[bytes]:
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # finds the package as this process did
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | path | dict.fromkeys(ONE_THREAD, "1"),
            process_group=0,  # Ctrl-C is for the process that waits
        )
    except OSError as error:
        raise InputError(
            f"expected to start a worker for masks, got: {in_one_line(error)}; make masks without"
        ) from None


def serve() -> None:
    """Answer calls until the pipe is closed: with whether each went well, and what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed must not be an answer
    with suppress(EOFError, BrokenPipeError):
        while True:
            _send(answers, _answer(_received(sys.stdin.buffer)))


def _answer(request: bytes) -> bytes:
    try:
        function, args = pickle.loads(request)
        answer = True, function(*args)
    except Exception as error:
        answer = False, error
    return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)


def _send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes:
    """Read what `_send` wrote. Raises EOFError for less."""
    head = pipe.read(LENGTH.size)
    content = pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
    if not content:
        raise EOFError
    return content
