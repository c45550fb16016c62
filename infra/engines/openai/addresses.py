"""Where the servers are, and how we identify ourselves. No `repr` or `str` shows a secret."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import httpx

from rstar_core.engine_config import DEFAULT_KEY_VARIABLE
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rstar_core.engine_config import ServerConfig

_EXAMPLE: Final = "write one like http://gpu-host:8000/v1"
_FEWEST_SECRET: Final = 6
"""What is shorter in a path is a word, and hiding it would hide it in every sentence."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Attributes:
        url: Its address without credentials and without a slash at the end; its path may hold a secret.
        shown: What sentences say of it: the address as it is configured, its variables by name.
        auth: User name and password that stood in the address, if any.
    """

    url: str = field(repr=False)
    shown: str
    auth: httpx.BasicAuth | None = field(default=None, repr=False)

    @property
    def may_have_proxy(self) -> bool:
        """Whether the environment's proxy is for it too: never for this machine, which none reaches."""
        host = httpx.URL(self.url).host
        if host == "localhost" or host.endswith(".localhost"):
            return False
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must stand in no sentence; `hide` sees to it for the texts of servers and libraries.

    Attributes:
        key: The key, or None.
        others: Passwords that stood in addresses, and what variables brought into their paths.
    """

    key: str | None = field(default=None, repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request says of who asks."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def hide(self, text: str) -> str:
        """The text with each secret replaced by three dots."""
        known = filter(None, (self.key, *self.others))
        for secret in sorted(known, key=len, reverse=True):  # one may hold another
            text = text.replace(secret, "...")
        return text


def read_addresses(config: ServerConfig, section: str = "policy") -> tuple[list[Address], Secrets]:
    """The addresses with their variables filled in, and the secrets from the environment.

    Raises:
        ConfigError: There is no address, one is none or stands there twice, a variable is not set, or that
            was chosen for the key, or the key cannot be sent.
    """
    if not config.base_url:
        raise ConfigError(
            f"{section}.engine is 'openai' but {section}.base_url is missing; give the server's address"
        )
    key = os.environ.get(config.api_key_env, "").strip() or None
    if key is None and config.api_key_env != DEFAULT_KEY_VARIABLE:
        name = f"${config.api_key_env}" if config.api_key_env.isupper() else "the variable"  # or is it a key?
        raise ConfigError(
            f"{name} that {section}.api_key_env names is not set; export the key, or leave the setting out "
            f"if the server wants none"
        )
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key in ${config.api_key_env} has characters that no HTTP header can carry; export it again"
        )
    parsed = [_parse(given, f"{section}.base_url") for given in config.base_url]
    addresses = [
        Address(
            str(url.copy_with(username=None, password=None)).rstrip("/"),
            given.rstrip("/"),
            httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
        )
        for given, url in zip(config.base_url, parsed, strict=True)
    ]
    _refuse_twins(addresses, f"{section}.base_url")
    hidden = {
        each for given, url in zip(config.base_url, parsed, strict=True) for each in _hidden(given, url)
    }
    return addresses, Secrets(key, tuple(hidden))


def _parse(given: str, setting: str) -> httpx.URL:
    """An address as it stands in the configuration. What its variables hold is shown in no error."""
    shown = f"…@{given.rpartition('@')[2]}" if "@" in given else given
    try:
        url = httpx.URL(Template(given).substitute({k: v for k, v in os.environ.items() if v}))
    except KeyError as missing:
        raise ConfigError(
            f"{setting} is {given}, but ${missing.args[0]} is not set; export it first"
        ) from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigError(f"{setting} is {shown}, which is no address; {_EXAMPLE}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"{setting} is {shown}, which is no address of a web server; {_EXAMPLE}") from None
    if url.query or url.fragment:
        raise ConfigError(
            f"{setting} is {shown}, and its variables bring in a '?' or '#'; end the address before that, "
            f"and put a key into the variable of api_key_env"
        )
    return url


def _hidden(given: str, url: httpx.URL) -> Iterator[str]:
    """What stands there for passwords and in the path that is not in the configuration's own text."""
    user, _, password = url.userinfo.decode().partition(":")
    yield password or user  # as it is written: p%40ss for p@ss
    yield url.password or url.username
    for segment in url.raw_path.decode().split("/"):
        if segment not in given and len(segment) >= _FEWEST_SECRET:
            yield segment
            yield unquote(segment)
    path = given.partition("://")[2].partition("/")[2]
    values = (os.environ[name] for name in Template(path).get_identifiers())
    yield from (value for value in values if len(value) >= _FEWEST_SECRET)


def _refuse_twins(addresses: Iterable[Address], setting: str) -> None:
    seen: set[str] = set()
    for each in addresses:
        if each.url in seen:
            raise ConfigError(f"{setting} names {each.shown} twice; name each server once")
        seen.add(each.url)
