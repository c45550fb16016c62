"""Frames between this process and its warm workers: four bytes of length, then JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Write one frame. Raises: OSError if the other side is gone."""
    body = json.dumps(message).encode()
    channel.sendall(len(body).to_bytes(4, "big") + body)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Read one frame, or None if the other side closed. Raises: OSError, TimeoutError."""
    head = _exactly(channel, 4)
    body = None if head is None else _exactly(channel, int.from_bytes(head, "big"))
    if body is None:
        return None
    message: dict[str, Any] = json.loads(body)
    return message


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        part = channel.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
