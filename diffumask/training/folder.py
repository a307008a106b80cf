"""The folder of a training, which goes on there by itself where it was stopped.

train.json           what made it, the settings, and whether it is finished; written first
log.jsonl            the loss
state.safetensors    where to go on, until it is finished
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffumask.errors import InputError
from diffumask.files.atomic import write_file, writing
from diffumask.files.begun import refuse_changes, refuse_foreign
from diffumask.files.inside import refuse_links
from diffumask.files.json_kinds import parse
from diffumask.files.lock import locked
from diffumask.files.partial import remove_left

from .distributed import is_first_process
from .state import STATE_FILE

RUN_FILE = "train.json"


def digest(lines: Iterable[str]) -> str:
    """Hash what a training depends on but would be long to write down, such as names of images."""
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """A folder that one kind of training goes on in, `made_by` what its messages name.

    `scratch` names the files there that, beside the state, only a training that goes on needs.
    `product` is what there is at the end: as long as it lasts, the training is not done again.
    """

    path: Path
    made_by: str
    scratch: tuple[str, ...] = ()
    product: Path | None = None

    @contextmanager
    def held(self, settings: Mapping[str, Any]) -> Iterator[bool]:
        """Begin a training or go on with one, and hold the folder; yields whether it is finished.

        Settings, which must be JSON, can change as long as no step is kept. Of several processes
        the first holds and writes. Raises InputError for a folder of something else, one that was
        begun with other settings, whose keys it names, one that another run writes to, one that
        cannot be written, and for links in it. An interrupt says in its text where the state is.
        """
        self.check(settings)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        first = is_first_process()
        with locked(self.path) if first else nullcontext():
            is_finished = self.check(settings)
            if first:
                self._begin(settings, is_finished)
            try:
                yield is_finished
            except KeyboardInterrupt:
                if (self.path / STATE_FILE).exists():
                    text = f"the last state is in {self.path}; run again to go on"
                    raise KeyboardInterrupt(text) from None
                raise

    def is_finished(self, settings: Mapping[str, Any]) -> bool:
        """Return what `check` does; of a finished training what a kill left is removed."""
        if not self.check(settings):
            return False
        with self.held(settings):
            return True

    def check(self, settings: Mapping[str, Any]) -> bool:
        """Return whether the training of these settings is finished; raises as `held`."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"expected a folder for the training, got the file {self.path}")
        refuse_links(self.path)
        if not (self.path / RUN_FILE).exists():
            refuse_foreign(self.path, self.made_by)
            return False
        begun = self._begun()
        is_finished = bool(begun.get("finished")) and bool(self.product and self.product.exists())
        if is_finished or (self.path / STATE_FILE).exists():
            refuse_changes(self.path, begun["settings"], _as_read(settings))
        return is_finished

    def num_steps(self) -> int:
        """Return how many steps a finished training took, 0 where that was not noted."""
        return int(self._begun().get("num_steps", 0))

    def finish(self, num_steps: int = 0) -> None:
        """Note that the product is there, and remove what only a training that goes on needs.

        The state goes last: as long as it is there, a kill leaves a training that can be finished.
        """
        if not is_first_process():
            return
        taken = {"num_steps": num_steps} if num_steps else {}
        self._write(self._begun() | {"finished": True} | taken)
        self._clear()

    def _begin(self, settings: Mapping[str, Any], is_finished: bool) -> None:
        """Write the settings down, and remove what a finished training or other settings left."""
        begun = {"made_by": self.made_by, "settings": _as_read(settings)}
        earlier = self._begun() if (self.path / RUN_FILE).exists() else begun
        if is_finished or earlier["settings"] != begun["settings"]:
            self._clear()
        if not is_finished:
            self._write(begun)

    def _clear(self) -> None:
        with writing(self.path):
            remove_left(self.path)
            for name in (*self.scratch, STATE_FILE):
                (self.path / name).unlink(missing_ok=True)

    def _write(self, begun: Mapping[str, Any]) -> None:
        write_file(self.path / RUN_FILE, (json.dumps(begun, indent=2) + "\n").encode())

    def _begun(self) -> dict[str, Any]:
        """Read what the training was begun with. Raises InputError for what is not of its kind."""
        path = self.path / RUN_FILE
        try:
            begun = parse(path.read_bytes())
            is_own = begun["made_by"] == self.made_by and isinstance(begun["settings"], dict)
        except (OSError, ValueError, KeyError, TypeError):
            is_own, begun = False, {}
        if not is_own:
            raise InputError(
                f"expected {path} of {self.made_by}, got another; choose another folder"
            )
        return begun


def _as_read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON gives them back, in which tuples are lists."""
    return json.loads(json.dumps(settings))
