"""Time in the queues of vLLM servers, read from real HTTP pages in their format."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.engines import queueing
from infra.engines.openai.addresses import Address
from infra.engines.queueing import QueueTimes

PAGE = """# HELP vllm:request_queue_time_seconds Time in the queue.
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{{engine="0",le="0.3",model_name="policy"}} 7.0
vllm:request_queue_time_seconds_bucket{{engine="0",le="+Inf",model_name="policy"}} 7.0
vllm:request_queue_time_seconds_count{{engine="0",model_name="policy"}} 7.0
vllm:request_queue_time_seconds_sum{{engine="0",model_name="policy"}} {seconds}
vllm:other_seconds_sum 99.0
"""


@contextmanager
def server():
    """A server whose page says what its attribute `seconds` says; None: it is no vLLM."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seconds = self.server.seconds
            body = b"hello" if seconds is None else PAGE.format(seconds=seconds).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.seconds = 0.0
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield serving
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()


def address(serving):
    url = f"http://127.0.0.1:{serving.server_address[1]}"
    return Address(url, url)


@pytest.fixture(autouse=True)
def always_asked(monkeypatch):
    monkeypatch.setattr(queueing, "_FRESH_SECONDS", -1.0)


def test_what_servers_of_others_had_counted_before_is_not_ours():
    with server() as one, server() as other:
        one.seconds, other.seconds = 5.0, None
        queues = QueueTimes([address(one), address(other)], ours=False)
        assert queues.seconds() == 0
        one.seconds, other.seconds = 6.5, 2.0
        assert queues.seconds() == pytest.approx(1.5)  # the other answers for the first time
        other.seconds = 3.0
        assert queues.seconds() == pytest.approx(2.5)
        assert queues.seconds() == pytest.approx(2.5)


def test_a_server_that_was_started_again_counts_from_zero():
    with server() as one:
        queues = QueueTimes([address(one)], ours=True)
        one.seconds = 4.0
        assert queues.seconds() == 4
        one.seconds = 1.0
        assert queues.seconds() == 5


def test_a_server_is_not_asked_again_at_once(monkeypatch):
    monkeypatch.setattr(queueing, "_FRESH_SECONDS", 60.0)
    with server() as one:
        queues = QueueTimes([address(one)], ours=True)
        one.seconds = 4.0
        assert queues.seconds() == 4
        one.seconds = 9.0
        assert queues.seconds() == 4


def test_a_server_that_is_away_or_none_of_vllm_adds_nothing():
    with server() as one:
        queues = QueueTimes([address(one)], ours=True)
        one.seconds = None
        assert queues.seconds() == 0
    assert queues.seconds() == 0
