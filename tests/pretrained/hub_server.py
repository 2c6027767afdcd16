"""A hub of one machine: what the real one answers to the requests for a file, without the files of the real one."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """`files` by (repository, name). `sent` replaces the bytes of a file on their way; `gated` lists repositories."""

    url: str = ""
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sent: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    failing: bool = False
    silent: threading.Event | None = None
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for `/ORGANISATION/NAME/resolve/REVISION/FILE`."""
        if "/resolve/" not in path:
            return 404, {}, b""
        organisation, name, _, revision, *rest = path.removeprefix("/datasets").strip("/").split("/")
        repository, file = f"{organisation}/{name}", "/".join(rest)
        if self.failing:
            return 500, {}, b""
        if repository in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if repository not in {known for known, _ in self.files}:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in ("main", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if (repository, file) not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT, **self.headers}, b""
        data = self.files[repository, file]
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Content-Length": str(len(data)),
        }
        headers |= self.headers
        return 200, headers, self.sent.get((repository, file), data)


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A running hub that huggingface_hub asks, with an empty cache in `tmp_path`/cache."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def reply(self, body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            if hub.silent is not None:
                hub.silent.wait()
                return
            status, headers, data = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", "0")
            self.end_headers()
            if body:
                self.wfile.write(data)
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.reply(body=False)

        def do_GET(self) -> None:
            self.reply(body=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dinov2(
    width: int = 24, depth: int = 2, seed: int = 0, *, registers: bool = True
) -> dict[str, np.ndarray]:
    """Random weights under the names of DINOv2, as far as names tell the family."""
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, 5, width),
        **({"embeddings.register_tokens": (1, 4, width)} if registers else {}),
        **{f"encoder.layer.{i}.layer_scale1.lambda1": (width,) for i in range(depth)},
        **{f"encoder.layer.{i}.norm1.weight": (width,) for i in range(depth)},
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def sharded(weights: dict[str, np.ndarray], parts: int) -> dict[str, bytes]:
    """`weights` as files: an index and `parts` shards."""
    names = sorted(weights)
    files = {f"model-{part + 1:05}-of-{parts:05}.safetensors": names[part::parts] for part in range(parts)}
    placed = {name: file for file, held in files.items() for name in held}
    index = json.dumps({"metadata": {"total_size": 0}, "weight_map": placed}).encode()
    shards = {file: save({name: weights[name] for name in held}) for file, held in files.items()}
    return {"model.safetensors.index.json": index, **shards}


def halved(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same numbers in bfloat16."""
    return {name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}
