"""What is shown of a phase and of a count, in words."""

import time
from dataclasses import dataclass, field


class Pace:
    """Seconds for each and time left, from what was made since the start.

    `spent_s` are the seconds until the last was made.
    """

    def __init__(self, total: int, done: int, each: str = "item") -> None:
        self.total = total
        self.each = each
        self.begin(done)

    def begin(self, done: int) -> None:
        """Count so many as made before."""
        self.done = done
        self._made, self.spent_s = 0, 0.0
        self._start = now()

    def advance(self, count: int) -> None:
        """Count what was made just now."""
        self.done += count
        self._made += count
        self.spent_s = now() - self._start

    @property
    def left_s(self) -> float:
        """Seconds until all are made, at the pace so far; 0 as long as there is none."""
        return self.spent_s / self._made * (self.total - self.done) if self._made else 0.0

    @property
    def rate(self) -> str:
        """The pace in words, empty as long as there is none."""
        return f"{self.spent_s / self._made:.3g} s/{self.each}" if self._made else ""

    def __str__(self) -> str:
        is_over = not self._made or self.done >= self.total
        return self.rate if is_over else f"{self.rate}, {duration(self.left_s)} left"


@dataclass(slots=True)
class Phase:
    """What goes on, uncounted; `then` is its name once something was counted inside of it."""

    name: str
    then: str | None = None
    _start: float = field(default_factory=lambda: now())

    def go_on(self) -> None:
        """Take the later name."""
        self.name = self.then or self.name

    def __str__(self) -> str:
        spent_s = now() - self._start
        return f"{self.name} ..." + (f" {duration(spent_s)}" if spent_s >= 2 else "")


@dataclass(slots=True)
class Counted:
    """A count with its pace, and what goes on for the next ones."""

    name: str
    pace: Pace
    _parts: dict[str, Pace] = field(default_factory=dict)
    _has_ended: bool = False

    def see(self, what: str, done: int, total: int) -> None:
        """Take note that so much of a part is done; a part that is done is forgotten."""
        if done >= total:
            self._parts.pop(what, None)
            return
        part = self._parts.setdefault(what, Pace(total, done, "step"))
        part.total = total
        part.advance(done - part.done)

    def end(self, also_partial: bool) -> bool:
        """End once all are made, or as they are; returns whether that was not known."""
        ends = not self._has_ended and (also_partial or self.pace.done >= self.pace.total)
        self._has_ended = self._has_ended or ends
        return ends

    @property
    def detail(self) -> str:
        """What goes on, and the pace; as long as nothing is made, that of what goes on."""
        parts = list(self._parts.items())  # other threads change them
        doing = [f"{what} {part.done}/{part.total}" for what, part in parts]
        paces = [str(self.pace)] if str(self.pace) else [part.rate for _, part in parts][:1]
        return ", ".join(filter(None, [*doing, *paces]))

    def go_on(self) -> None:
        """Keep the name."""

    def __str__(self) -> str:
        count = f"{self.name} {self.pace.done}/{self.pace.total}"
        return f"{count}, {self.detail}" if self.detail else count


def now() -> float:
    """Return the seconds of a clock that never goes back."""
    return time.monotonic()


def duration(seconds: float) -> str:
    """Round to what a person waits by: 42 s, 17 min, 3.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
