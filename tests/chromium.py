"""A real Chromium without a window, which reaches this machine only and remembers what its pages asked and said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
    WebSocket,
    sync_playwright,
)

from tests import needs

SECONDS = 120
"""The limit of anything that is waited for."""

FLAGS = (
    "--no-sandbox",  # its sandbox refuses to start for root, and containers lack what it needs
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@dataclass
class Visit:
    """One browser window, with every host its pages asked and every trouble they had."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    """The text that came in over WebSockets: what a terminal prints is in it."""

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Wait until `condition` holds, with the browser alive meanwhile."""
        step = 0.1
        for _ in range(int(seconds / step)):
            if condition():
                return
            self.page.wait_for_timeout(step * 1000)
        pytest.fail(f"waited {seconds:g} s for {what}")

    def _request(self, request: Request) -> None:
        # data: and blob: carry their content themselves.
        if host := urlsplit(request.url).hostname:
            self.hosts.add(host)

    def _socket(self, socket: WebSocket) -> None:
        self.hosts.add(urlsplit(socket.url).hostname or socket.url)
        socket.on("framereceived", lambda data: self.frames.append(data) if isinstance(data, str) else None)

    def _failed(self, request: Request) -> None:
        # Leaving a page ends what it still asks for.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"{request.failure}: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.status}: {response.url}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    def _error(self, error: Error) -> None:
        self.troubles.append(f"uncaught: {error}")


@contextmanager
def launched() -> Iterator[Browser]:
    """One Chromium; ended at the end. One at a time: playwright allows no second one beside it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=needs.browser_path(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, width: int = 1400, height: int = 900) -> Iterator[Visit]:
    """A window that shares nothing with the others; closed at the end."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale="en-US")
    try:
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        found = Visit(page)
        page.on("request", found._request)
        page.on("websocket", found._socket)
        page.on("requestfailed", found._failed)
        page.on("response", found._response)
        page.on("console", found._console)
        page.on("pageerror", found._error)
        yield found
    finally:
        context.close()
