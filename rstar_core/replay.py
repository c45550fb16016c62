"""Replies as plain lists and back, and the mark by which a logged reply is known to fit a request.

A search is a function of its requests' replies, so a log of replies is the search: fed with them, the
generator grows the same tree again, to the end of the log or to the end of the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from rstar_core.requests import Execute, Grade, Propose, Together
from rstar_core.types import Completion, Execution, ExecutionStatus, Verdict

if TYPE_CHECKING:
    from rstar_core.requests import Reply, Request


def fingerprint(request: Request) -> int:
    """A checksum of everything a request says."""
    return crc32(repr(request).encode("utf-8", "surrogatepass"))


def encode_reply(reply: Reply) -> list[Any]:
    """A reply as lists, texts, numbers and None: what JSON holds without loss."""
    return [_encode(item) for item in reply]


def decode_reply(request: Request, values: list[Any]) -> Reply:
    """The reply to `request` that `values` were made from.

    Raises:
        ValueError: The values are no reply to such a request.
        TypeError: As above.
    """
    match request:
        case Propose():
            return tuple([Completion(*each) for each in values])
        case Execute():
            return tuple(
                [Execution(ExecutionStatus(status), *rest) for status, *rest in values],
            )
        case Together(requests):
            return tuple([decode_reply(each, part) for each, part in zip(requests, values, strict=True)])
        case Grade():
            return tuple([Verdict(*each) for each in values])
        case _:
            return tuple([float(each) for each in values])


def _encode(item: object) -> Any:  # noqa: ANN401 - JSON's values
    match item:
        case tuple():
            return [_encode(each) for each in item]
        case Completion():
            return [item.text, item.num_tokens, item.finished]
        case Execution():
            return [str(item.status), item.stdout, item.error, item.seconds]
        case Verdict():
            return [item.correct, item.method, item.seconds]
        case _:
            return item
