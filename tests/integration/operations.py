"""`rstar up` as an operator starts it, and its server as a program asks it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Operations:
    """A running `rstar up`.

    Attributes:
        ui: Address of the UI.
        api: Address of the API.
        process: The command.
        log: What it prints.
    """

    def __init__(self, process, port, log):
        self.process, self.log = process, log
        self.ui = f"http://127.0.0.1:{port}"
        self.api = f"{self.ui}/api"

    def said(self):
        """What the command has printed so far."""
        return self.log.read_text()

    def wait_until_it_says(self, text, seconds=180):
        """Wait for a text on its output."""
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def get(self, path):
        """The answer of the API to a question, asked again while its server is away."""
        return self._ask("GET", path, None)

    def post(self, path, body):
        """The same for a question with a body."""
        return self._ask("POST", path, body)

    def _ask(self, method, path, body):
        deadline = time.monotonic() + 120
        while True:
            try:
                reply = httpx.request(method, f"{self.api}/{path}", json=body, timeout=30)
                reply.raise_for_status()
                return reply.json()
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def deployment(self, name):
        """Id of a deployment, `flow/name`."""
        return self.get(f"deployments/name/{name}")["id"]

    def start(self, name):
        """Run a deployment; the run's id."""
        return self.post(f"deployments/{self.deployment(name)}/create_flow_run", {})["id"]

    def newest_run(self, name, *, after=()):
        """The newest run of a deployment that is not one of `after`, waited for."""
        question = {
            "sort": "EXPECTED_START_TIME_DESC",
            "deployments": {"id": {"any_": [self.deployment(name)]}},
        }
        deadline = time.monotonic() + 60
        while True:
            runs = [each["id"] for each in self.post("flow_runs/filter", question)]
            fresh = [each for each in runs if each not in after]
            if fresh:
                return fresh[0]
            assert time.monotonic() < deadline, f"no run of {name} was made"
            time.sleep(0.3)

    def wait_for(self, run_id, states=ENDED, *, after=None, seconds=240):
        """The run's state once it is one of these and not the one with id `after`."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.get(f"flow_runs/{run_id}")["state"]
            if state["type"] in states and state["id"] != after:
                return state
            assert time.monotonic() < deadline, f"the run is still {state['type']}: {state.get('message')}"
            time.sleep(0.3)


@contextmanager
def running(folder, *configs):
    """`rstar up` with a home of its own, ready to be used; Ctrl-C at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "up.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder / "prefect"),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", *map(str, configs), "--port", str(port)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    operations = Operations(process, port, log)
    try:
        operations.wait_until_it_says("Ctrl-C stops everything")
        yield operations
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
