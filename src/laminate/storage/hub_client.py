"""The client of huggingface_hub, with three things more: it gives up soon, it is quiet about it, and it takes no path
where a name belongs.

Without a network the library asks seven times, for 23 s in all and with two lines of warning each; a hub that accepts
a connection and then says nothing, for 398 s. And the hub's ETag and commit become names of files in the cache:
`../../../.bashrc` would be written there.
"""

import dataclasses
import logging
import math
import os
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import huggingface_hub
from huggingface_hub.utils import _http  # pyright: ignore[reportPrivateUsage]

PATIENCE = "HF_HUB_ETAG_TIMEOUT"
ANSWERING = float(os.environ.get(PATIENCE, 4.0))
"""Seconds that a hub has for its first answer about a file, over all attempts."""
_ATTEMPTS = 2  # questions in a row that may fail: the library begins with two, and sleeps longer and longer after those
_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "urllib3")
_NAMES = ("ETag", "X-Linked-Etag", "X-Repo-Commit")
_NAME = re.compile(r'(?:W/)?"?[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"?')
_FAILING = 500  # and above: the server's own fault
_BUSY = 429


class SilentHubError(OSError):
    """The hub does not answer."""


class FailingHubError(OSError):
    """The hub answers that it cannot."""


class HostileHubError(OSError):
    """The hub answers with what would be written outside the cache."""


@dataclasses.dataclass
class _Asking:
    """One file that is asked for: until when, how many questions in a row failed, and the last status."""

    end: float
    failed: int = 0
    status: int = 0


_asking: ContextVar[_Asking | None] = ContextVar("asking", default=None)
_reached: dict[tuple[str, int], tuple[float, OSError | None]] = {}
"""What came of connecting to a host, and when."""
_AGAIN = 60.0  # seconds after which a host that could not be reached is tried again
_installed = False


@contextmanager
def asked() -> Generator[None]:
    """The body asks the hub for one file. What the library would warn of on the way is in the error at the end.

    Raises:
        SilentHubError: no answer within `ANSWERING` seconds, or nothing is there that could answer.
        FailingHubError: it is asked twice, and answers that it is busy or broken.
        HostileHubError: an answer that names a place outside the cache.
    """
    _install()
    token = _asking.set(_Asking(time.monotonic() + ANSWERING))
    warning = [log for name in _LOGGERS if (log := logging.getLogger(name)).level in (0, logging.WARNING)]
    levels = [log.level for log in warning]
    for log in warning:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _asking.reset(token)
        for log, level in zip(warning, levels, strict=True):
            log.setLevel(level)


def _install() -> None:
    """Give every client of huggingface_hub our hooks, from now on; one that a user has set stays what it is."""
    global _installed
    if _installed:
        return
    _installed = True
    make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)

    def client() -> Any:
        made = make()
        hooks = made.event_hooks
        made.event_hooks = {
            "request": [*hooks.get("request", []), _in_time],
            "response": [_note_answer, _plain_names, *hooks.get("response", [])],
        }
        return made

    huggingface_hub.set_client_factory(client)


def _in_time(request: Any) -> None:
    """A question about a file must be answered before the deadline; its bytes may take longer."""
    asking = _asking.get()
    if asking is None or request.method != "HEAD":
        return
    host, left = request.url.host, asking.end - time.monotonic()
    if asking.failed >= _ATTEMPTS and asking.status:
        raise FailingHubError(f"{asking.status}")
    if left <= 0.0 or asking.failed >= _ATTEMPTS:
        raise SilentHubError(
            f"{host} does not answer within {ANSWERING:.0f} s; {PATIENCE}=30 waits longer"
            if left <= 0.0
            else f"{host} does not answer"
        )
    if not urllib.request.getproxies():
        _reach(host, request.url.port or (443 if request.url.scheme == "https" else 80), left)
    asking.failed += 1
    given = request.extensions.get("timeout") or {}
    limits = {
        name: left if given.get(name) is None else min(left, given[name]) for name in ("connect", "read")
    }
    request.extensions["timeout"] = {**given, **limits}


def _reach(host: str, port: int, seconds: float) -> None:
    """Raises SilentHubError, with the reason, if nothing can be connected to within so many seconds.

    A host that was reached is not tried again, and one that was not, not for a minute.
    """
    since, error = _reached.get((host, port), (-math.inf, OSError()))
    if error is not None and time.monotonic() - since >= _AGAIN:
        error = _connected(host, port, seconds)
        _reached[host, port] = time.monotonic(), error
    if error is not None:
        raise SilentHubError(f"{host}: {error.strerror or error}")


def _connected(host: str, port: int, seconds: float) -> OSError | None:
    """Why no connection can be made; in a thread, since looking up a name knows no time limit."""
    found: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            found.append(None)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else TimeoutError(f"no connection within {seconds:.0f} s")


def _note_answer(response: Any) -> None:
    asking = _asking.get()
    if asking is None or response.request.method != "HEAD":
        return
    asking.status = response.status_code
    if asking.status < _FAILING and asking.status != _BUSY:
        asking.failed, asking.status = 0, 0


def _plain_names(response: Any) -> None:
    for header in _NAMES:
        value = response.headers.get(header)
        if value is not None and ("X-Repo-Commit" in response.headers) and not _NAME.fullmatch(value):
            raise HostileHubError(
                f"{response.url.host} answers with the {header} {value[:60]!r}, which is no name of a file in the "
                "cache: refused, nothing was written"
            )
