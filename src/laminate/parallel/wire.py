"""What the hosts say to each other: small JSON objects, one a line, over TCP.

Before anything else each host shows host 0 a proof, always of the same length, that it holds the token of the job.
"""

import hashlib
import json
import socket
from typing import Any

Message = dict[str, Any]

LONGEST = 1 << 24  # bytes of one message; more is no message of ours
SENDING = 5.0  # seconds that a peer may be too busy to take a message
PROOF = hashlib.sha256().digest_size  # bytes


def proof_of(token: str) -> bytes:
    """What shows that one holds `token`, which may be of any length: `PROOF` bytes."""
    return hashlib.sha256(b"laminate host " + token.encode()).digest()


class Line:
    """One end of a connection. `receive` is for one thread, `send` for one at a time."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self._rest = b""
        connection.settimeout(SENDING)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def show(self, proof: bytes) -> None:
        """Raises OSError if the other end is gone or takes nothing."""
        self.socket.sendall(proof)

    def shown(self, missing: int) -> bytes:
        """At most so many bytes of a proof, to be called when there is something to read; none at the end."""
        try:
            return self.socket.recv(missing)
        except OSError:
            return b""

    def send(self, message: Message) -> None:
        """Raises OSError if the other end is gone or takes nothing."""
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[Message] | None:
        """The messages that have arrived, to be called when there is something to read; None at the end."""
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        if not data or len(self._rest) > LONGEST:
            return None
        try:
            messages = [json.loads(text) for text in whole]
        except ValueError:  # a stranger
            return None
        return messages if all(isinstance(message, dict) for message in messages) else None

    def close(self) -> None:
        self.socket.close()
