"""The client of huggingface_hub, with two things more: it gives up, and it takes no path where a name belongs.

A hub that accepts a connection and then says nothing is asked seven times, for 398 s in all. And the hub's ETag and
commit become names of files in the cache: `../../../.bashrc` would be written there.
"""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import huggingface_hub
from huggingface_hub.utils import _http  # pyright: ignore[reportPrivateUsage]

ANSWERING = 30.0  # seconds that a hub has for its first answer about a file, over all attempts
_NAMES = ("ETag", "X-Linked-Etag", "X-Repo-Commit")
_NAME = re.compile(r'(?:W/)?"?[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"?')
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_installed = False


class SilentHubError(OSError):
    """The hub does not answer."""


class HostileHubError(OSError):
    """The hub answers with what would be written outside the cache."""


@contextmanager
def asked() -> Generator[None]:
    """The body asks the hub for one file.

    Raises:
        SilentHubError: no answer within `ANSWERING` seconds.
        HostileHubError: an answer that names a place outside the cache.
    """
    _install()
    token = _deadline.set(time.monotonic() + ANSWERING)
    try:
        yield
    finally:
        _deadline.reset(token)


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
            "response": [_plain_names, *hooks.get("response", [])],
        }
        return made

    huggingface_hub.set_client_factory(client)


def _in_time(request: Any) -> None:
    """A question about a file must be answered before the deadline; its bytes may take longer."""
    end = _deadline.get()
    if end is None or request.method != "HEAD":
        return
    left = end - time.monotonic()
    if left <= 0.0:
        raise SilentHubError(f"{request.url.host} does not answer within {ANSWERING:.0f} s")
    given = request.extensions.get("timeout") or {}
    limits = {
        name: left if given.get(name) is None else min(left, given[name]) for name in ("connect", "read")
    }
    request.extensions["timeout"] = {**given, **limits}


def _plain_names(response: Any) -> None:
    for header in _NAMES:
        value = response.headers.get(header)
        if value is not None and ("X-Repo-Commit" in response.headers) and not _NAME.fullmatch(value):
            raise HostileHubError(
                f"{response.url.host} answers with the {header} {value[:60]!r}, which is no name of a file in the "
                "cache: refused, nothing was written"
            )
