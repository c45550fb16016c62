"""A proxy that the environment names is for servers elsewhere: those of this machine are asked directly."""

import pytest

from infra.engines import queueing
from infra.engines.openai.addresses import Address
from tests.unit.infra.completions_server import ASK, Server, good, policy_of, run
from tests.unit.infra.test_engine_queueing import server as vllm_server


@pytest.fixture
def server():
    server = Server()
    server.replies = [(200, good())]
    yield server
    server.close()


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names; it answers whatever it is asked itself."""
    proxy = Server()
    proxy.replies = [(200, good())]
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost"])
def test_a_server_of_this_machine_is_asked_directly(server, proxy, host):
    policy = policy_of(base_url=f"http://{host}:{server.port}/v1")
    assert len(run(policy.propose(ASK))) == 2
    assert (len(server.requests), len(proxy.requests)) == (1, 0)
    with vllm_server() as vllm:
        vllm.seconds = 7.0
        url = f"http://{host}:{vllm.server_address[1]}"
        assert queueing._read(Address(url, url)) == 7.0  # the proxy's answer is no page of vLLM


def test_a_server_elsewhere_is_asked_through_the_proxy(proxy):
    policy = policy_of(base_url="http://gpu-host.invalid:8000/v1")
    assert len(run(policy.propose(ASK))) == 2
    assert [path for path, _ in proxy.requests] == ["http://gpu-host.invalid:8000/v1/completions"]


@pytest.mark.parametrize(
    ("url", "elsewhere"),
    [
        ("http://127.8.9.1:80/v1", False),
        ("http://[::1]:80/v1", False),
        ("http://model.localhost/v1", False),
        ("http://10.0.0.1/v1", True),
        ("http://localhost.example/v1", True),
    ],
)
def test_which_addresses_are_of_this_machine(url, elsewhere):
    assert Address(url, url).may_have_proxy is elsewhere
