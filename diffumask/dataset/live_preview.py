"""The contact sheet of a folder while items are still made."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from diffumask.errors import InputError

from .preview import write_preview
from .writer import Store

EVERY_S = 30.0
SHARE = 0.02  # of the time of a run that its previews take at most

T = TypeVar("T")


def previewed(
    batches: Iterable[T], store: Store, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """Pass on batches that are written, and draw the contact sheet of what there is in between.

    That is done every 30 s at most, and more rarely where it takes more than a fiftieth of the
    time. It reads 24 items, however many there are. An item that cannot be read, as somebody
    changed it meanwhile, leaves the sheet as it was.
    """
    last, cost_s = clock(), 0.0
    for batch in batches:
        yield batch
        begun = clock()
        if begun - last >= max(EVERY_S, cost_s / SHARE):
            with suppress(InputError):
                write_preview(store)
            last = clock()
            cost_s = last - begun
