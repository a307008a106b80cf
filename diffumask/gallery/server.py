"""The page on this machine while items are being made: two addresses, and nothing else.

`/` is the page without items, `/items?since=MARK` is what is new since then, as JSON. No part of an
address is ever a path, so none leads anywhere. A page of elsewhere in the same browser reads
nothing: the name of the host has to be this machine's, which holds against names that are made to
point here (DNS rebinding), and browsers keep answers from pages of other origins.
"""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from diffumask.errors import InputError

from .live import Live

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
DEFAULT_PORT = 8410
ANY_PORT = 0
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class GalleryServer(ThreadingHTTPServer):
    """Serve the page that `render_page` makes, and the items of `live`, to this machine."""

    daemon_threads = True

    def __init__(self, port: int, render_page: Callable[[], str], live: Live) -> None:
        super().__init__((HOST, port), _Handler)
        self.render_page = render_page
        self.live = live

    @property
    def port(self) -> int:
        """The port, also where a free one was asked for."""
        return self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what went wrong, but not of a browser that waits no longer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.port}/"


def open_server(port: int | None, render_page: Callable[[], str], live: Live) -> GalleryServer:
    """Open a server at a port: DEFAULT_PORT or a free one for None, a free one for ANY_PORT.

    The browser keeps marks by the port, so one that stays the same is better than a free one.
    Raises InputError for a port that cannot be had.
    """
    try:
        return GalleryServer(DEFAULT_PORT if port is None else port, render_page, live)
    except OSError as error:
        if port is None:
            return GalleryServer(ANY_PORT, render_page, live)
        raise InputError(
            f"expected a free port, got {port}: {error.strerror}; choose another"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    server: GalleryServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if self.headers.get_all("Host", []) not in [
            [f"{name}:{self.server.port}"] for name in NAMES
        ]:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "expected this machine's own name")
        elif asked.path == "/":
            self._page()
        elif asked.path == "/items":
            (mark,) = parse_qs(asked.query).get("since", [""])[:1]
            self._answer(
                HTTPStatus.OK, "application/json", json.dumps(self.server.live.since(mark))
            )
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "expected / or /items")

    def _page(self) -> None:
        try:
            self._answer(HTTPStatus.OK, "text/html", self.server.render_page())
        except InputError as error:  # the folder was moved since
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        """Tell nobody which Python this is."""
        return "diffumask"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of each request: a page that is open makes one every other second."""
