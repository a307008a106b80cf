"""Is there a Ray cluster at an address? Told in seconds, where Ray itself tries for minutes."""

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from urllib.parse import urlsplit

from diffumask.errors import InputError, in_one_line

LOCAL, AUTO = "local", "auto"
ENVIRONMENT = "RAY_ADDRESS"  # where "auto" looks first
CLUSTER_FILE = "ray/ray_current_cluster"  # in the folder of temporary files: where it looks then
CLIENT = "ray://"
ANSWER_S, ALL_S = 3.0, 8.0
# What a client of HTTP/2, and so of gRPC, says first, with no settings; and what such a server
# answers first: its settings, in a frame of this type (RFC 9113, sections 3.4 and 6.5).
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
FRAME_HEAD_BYTES, FRAME_TYPE_AT, SETTINGS = 9, 3, 4


def parse_address(address: str) -> tuple[str, int] | None:
    """Return host and port, None for "local" and "auto". Raises InputError for anything else."""
    if address in (LOCAL, AUTO):
        return None
    try:
        parts = urlsplit(f"//{address.removeprefix(CLIENT)}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise InputError(
            f"expected {LOCAL}, {AUTO} or HOST:PORT as the address of Ray, got {address!r}"
        )
    return host, port


def check_ray(address: str) -> None:
    """Raise InputError where Ray is missing, or nothing like it answers at an address in time."""
    place = parse_address(address)
    if find_spec("ray") is None:
        raise InputError("expected Ray, got none; install it with: pip install 'diffumask[ray]'")
    if address == AUTO:
        place = _found()
    if place is None:
        return
    failed: list[str] = []
    # In a thread, as no time-out bounds the look-up of a host's name.
    asking = Thread(target=lambda: failed.extend(_fault(place)), daemon=True)
    asking.start()
    asking.join(ALL_S)
    if asking.is_alive():
        failed.append(f"no answer in {ALL_S:.0f} s")
    if failed:
        raise InputError(f"expected a Ray cluster at {address!r}, got: {failed[0]}")


def _found() -> tuple[str, int] | None:
    """Return where "auto" would connect to, None where only Ray can tell."""
    noted = Path(os.environ.get("RAY_TMPDIR", gettempdir()), CLUSTER_FILE)
    found = os.environ.get(ENVIRONMENT) or (noted.is_file() and noted.read_text("utf-8").strip())
    return parse_address(found) if found else None


def _fault(place: tuple[str, int]) -> list[str]:
    """Say what is wrong with a server of Ray, if anything is."""
    try:
        with socket.create_connection(place, ANSWER_S) as connection:
            connection.sendall(GREETING)
            head = connection.recv(FRAME_HEAD_BYTES, socket.MSG_WAITALL)
    except (OSError, UnicodeError) as error:  # the latter of names that no host can have
        return [in_one_line(getattr(error, "strerror", None) or error)]
    is_frame = len(head) == FRAME_HEAD_BYTES and head[FRAME_TYPE_AT] == SETTINGS
    return [] if is_frame else ["a server of another kind"]
