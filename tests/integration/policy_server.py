"""A policy server as a process of its own: `python -m tests.integration.policy_server PORT [SECONDS]`.

It says what the scripted policy says, which depends on prompt and seed alone, each reply after so many
seconds: a campaign has the same facts however often its server was killed meanwhile.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.engines.scripted import random_arithmetic
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Propose

MODEL = "scripted-server"


def completions(asked):
    """The reply to one request."""
    question, _, path = asked["prompt"].rpartition("Question: ")[2].partition(PREAMBLE)
    steps = tuple(filter(None, path.split("<end_of_step>\n")))
    texts = random_arithmetic(Propose(question, steps, asked["n"], asked["seed"], 0.8, 0.95, 64))
    choices = [{"index": i, "text": text, "finish_reason": "stop"} for i, text in enumerate(texts)]
    words = sum(len(text.split()) for text in texts)
    return {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": words}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds = 0.0

    def do_GET(self):
        self.answer({"data": [{"id": MODEL}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.seconds)
        self.answer(completions(asked))

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Handler.seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
