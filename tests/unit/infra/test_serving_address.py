"""Where a server of our own listens, and how its clients name it."""

import socket

import pytest

from infra.serving.server import _free_port, _reachable
from rstar_core.errors import ConfigError


def test_a_port_that_is_taken_is_refused_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"listen at port {port} of 127.0.0.1"):
            _free_port("127.0.0.1", port)
    assert _free_port("127.0.0.1", port) == port
    assert _free_port("127.0.0.1", 0) > 0


def test_a_host_that_is_not_there_is_a_sentence():
    with pytest.raises(ConfigError, match="name another port or host"):
        _free_port("no-such-host.invalid", 0)


EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound to it


@pytest.mark.parametrize(
    ("host", "named"), [(EVERYWHERE, "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("gpu-7", "gpu-7")]
)
def test_a_client_gets_an_address_that_it_can_reach(host, named):
    assert _reachable(host) == named
