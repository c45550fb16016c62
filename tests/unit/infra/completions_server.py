"""A completions server for tests, an event loop that makes its clients hurry, and replies."""

import asyncio
import json
import os
import selectors
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

from infra.engines.openai import OpenAIPolicy, transport
from rstar_core.engine_config import PolicyConfig
from rstar_core.requests import Propose

KEY_VARIABLE, KEY = "RSTAR_TEST_ENGINE_KEY", "sk-top-secret"
PATIENCE = 1e5  # of a fast loop's seconds
ASK = Propose("How many?", ("x = 1\n<end_of_step>\n",), 2, 7, 0.8, 0.95, 64)


class _FastSelector(selectors.DefaultSelector):
    def select(self, timeout=None):
        return super().select(timeout / 1000 if timeout else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs a thousand times as fast: back-off of seconds takes milliseconds."""

    def __init__(self):
        super().__init__(_FastSelector())

    def time(self):
        return super().time() * 1000


def run(coroutine):
    """On a fast loop, where a loaded machine needs not be fast to be connected to."""
    patient = mock.patch.object(transport, "_CONNECT_SECONDS", PATIENCE)
    with patient, asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(coroutine)


class Server:
    """A real HTTP server that plays its replies one by one and keeps what it was asked.

    A reply is (status, body) or (status, body, headers); the last one is played for ever. `models` are those
    that it lists; None stands for a server without such a list.
    """

    def __init__(self, port=0):
        self.replies, self.requests, self.headers, self.models = [], [], [], ["tiny"]
        self.gate, self.asked = threading.Event(), threading.Event()
        self.gate.set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.requests.append((self.path, json.loads(body)))
                owner.headers.append(dict(self.headers))
                owner.asked.set()
                owner.gate.wait(30)
                self.answer(*(owner.replies.pop(0) if len(owner.replies) > 1 else owner.replies[0]))

            def do_GET(self):
                if owner.models is None:
                    self.answer(404, "no such page")
                else:
                    self.answer(200, {"data": [{"id": name} for name in owner.models]})

            def answer(self, status, reply, headers=()):
                reply = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


def policy_of(*servers, **changes):
    settings = {
        "base_url": [f"{each.url}/" for each in servers],
        **({"api_key_env": KEY_VARIABLE} if KEY_VARIABLE in os.environ else {}),
        "model": "tiny",
        "timeout_seconds": PATIENCE,
        "unavailable_seconds": PATIENCE,
    }
    return OpenAIPolicy("finetuned", PolicyConfig(engine="openai", **{**settings, **changes}))


@contextmanager
def environment(name, value):
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def good(*choices, **usage):
    texts = choices or ("a\n<end_of_step>", "b\n<end_of_step>")
    return {
        "choices": [
            {"index": number, "text": text, "finish_reason": "stop"} for number, text in enumerate(texts)
        ],
        "usage": usage,
    }
