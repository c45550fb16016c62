"""Servers that are not vLLM: they refuse its fields, take the stop string off, and may or may not name it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rstar_core.errors import EngineError, EngineStoppedError
from tests.unit.infra.completions_server import ASK, Server, good, policy_of, run

EXTENSIONS = ("include_stop_str_in_output", "skip_special_tokens")
STEP, LAST, ANSWER = "x = 1\n<end_of_step>", "print(x)\n<end_of_code>", "<answer>\\boxed{1}<end_of_answer>"


class OpenAIs(BaseHTTPRequestHandler):
    """Completes as OpenAI documents it; `texts` is what its model writes, `named` where it names the stop."""

    status, texts, named = 400, (STEP, LAST), None

    def do_GET(self):
        self.answer(200, {"data": [{"id": "tiny"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(asked)
        unknown = [name for name in EXTENSIONS if name in asked]
        if unknown and self.status != 200:
            complaint = {
                400: {"error": {"message": f"Unrecognized request argument supplied: {unknown[0]}"}},
                422: {"detail": [{"type": "extra_forbidden", "loc": ["body", unknown[0]]}]},
            }
            self.answer(self.status, complaint[self.status])
            return
        choices = [self.choice(i, text, asked["stop"]) for i, text in enumerate(self.texts[: asked["n"]])]
        self.answer(200, {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 9}})

    def choice(self, index, text, stops):
        found = [(text.index(stop), stop) for stop in stops if stop in text]
        end, stop = min(found, default=(len(text), None))
        choice = {"index": index, "text": text[:end], "finish_reason": "stop"}
        return choice | ({self.named: stop} if self.named else {})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """A function that starts such a server and returns it; what it was asked is in its `bodies`."""
    servers = []

    def start(**behaviour):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Behaves", (OpenAIs,), behaviour))
        server.bodies, server.url = [], f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.mark.parametrize("status", [400, 422])
def test_fields_that_a_server_does_not_know_are_left_out_from_then_on(serve, status):
    server = serve(status=status, named="stop_reason")
    policy = policy_of(server)
    for _ in range(3):
        assert [each.text for each in run(policy.propose(ASK))] == [STEP, LAST]
    assert [set(EXTENSIONS) <= body.keys() for body in server.bodies] == [True, False, False, False]
    assert not any(name in body for body in server.bodies[1:] for name in EXTENSIONS)


def test_another_refusal_is_not_repeated():
    server = Server()
    server.replies = [(400, "temperature is too high")]
    try:
        with pytest.raises(EngineError, match="temperature is too high"):
            run(policy_of(server).propose(ASK))
        assert len(server.requests) == 1
    finally:
        server.close()


@pytest.mark.parametrize("named", ["stop_reason", "matched_stop"])
def test_a_tag_that_is_named_is_put_back(serve, named):
    policy = policy_of(serve(status=200, named=named))
    assert [each.text for each in run(policy.propose(ASK))] == [STEP, LAST]


def test_an_answer_that_has_begun_can_only_have_ended_in_its_own_tag(serve):
    policy = policy_of(serve(texts=(ANSWER, ANSWER)))
    for _ in range(3):
        assert [each.text for each in run(policy.propose(ASK))] == [ANSWER, ANSWER]


def test_a_server_that_hides_the_tags_of_code_stops_the_run_in_a_sentence(serve):
    server = serve()
    policy = policy_of(server)
    complaint = f"{server.url}/? takes the stop tags off its texts .* serve the model with vLLM or SGLang"
    for _ in range(2):
        with pytest.raises(EngineStoppedError, match=complaint):
            run(policy.propose(ASK))
    assert len(server.bodies) == 2  # the one that was refused, and one that was answered
    assert policy.stats().generated_tokens == 9


def test_a_model_that_ends_its_texts_itself_is_not_taken_for_such_a_server(serve):
    says_so = policy_of(serve(status=200, texts=("x", "y"), named="stop_reason"))  # null, as vLLM does
    run(says_so.propose(ASK))
    keeps = Server()
    keeps.replies = [(200, good("x", STEP)), (200, good("x", "y")), (200, good("x", "y"))]
    try:
        policy = policy_of(keeps)
        for _ in range(3):
            run(policy.propose(ASK))
    finally:
        keeps.close()
