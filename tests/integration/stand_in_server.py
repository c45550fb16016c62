"""A program in vLLM's place: a real process that answers /health at its port, until it is stopped or ends.

`write_stand_in` writes it where `RSTAR_VLLM_PYTHON` may point. Each start adds its id and that of a helper in
a session of its own to a diary.
"""

import json
import sys

from tests.integration.conftest import lives

_PROGRAM = """#!{python}
import os, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        key = os.environ.get("VLLM_API_KEY")
        refused = key and self.path != "/health" and self.headers["Authorization"] != "Bearer " + key
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

def end():
    time.sleep({life})
    print("RuntimeError: out of luck", flush=True)
    os._exit(1)

helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
with open({diary!r}, "a") as diary:
    diary.write(f"{{os.getpid()}} {{helper.pid}}\\n")
if {life}:
    threading.Thread(target=end, daemon=True).start()
port = next(int(each.partition("=")[2]) for each in sys.argv if each.startswith("--port="))
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class StandIn:
    """The program, and what it has written down.

    Attributes:
        python: The program.
        model: A folder that looks like a policy.
    """

    def __init__(self, folder, life):
        self.python, self.model, self._diary = folder / "python", folder / "model", folder / "diary"
        self._diary.touch()
        self.python.write_text(_PROGRAM.format(python=sys.executable, life=life, diary=str(self._diary)))
        self.python.chmod(0o755)
        self.model.mkdir()
        (self.model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
        (self.model / "model.safetensors").write_bytes(b"weights")

    def starts(self):
        """Ids of server and helper, for each start so far."""
        return [tuple(map(int, line.split())) for line in self._diary.read_text().splitlines()]

    def living(self):
        """Those of them that are still there."""
        return [each for start in self.starts() for each in start if lives(each)]


def write_stand_in(folder, *, life=0.0):
    """Write the program into the folder; it ends by itself after so many seconds, or never with 0."""
    return StandIn(folder, life)
