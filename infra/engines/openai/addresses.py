"""Where the servers are, and how we identify ourselves. No `repr` or `str` shows a secret."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING

import httpx

from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstar_core.engine_config import ServerConfig

_EXAMPLE = "write one like http://gpu-host:8000/v1"


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Attributes:
        url: Its address without credentials and without a slash at the end.
        auth: User name and password that stood in the address, if any.
    """

    url: str
    auth: httpx.BasicAuth | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must stand in no sentence; `hide` sees to it for the texts of servers and libraries.

    Attributes:
        key: The key, or None.
        others: Passwords that stood in addresses.
    """

    key: str | None = field(default=None, repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request says of who asks."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def hide(self, text: str) -> str:
        """The text with each secret replaced by three dots."""
        for secret in filter(None, (self.key, *self.others)):
            text = text.replace(secret, "...")
        return text


def read_addresses(config: ServerConfig, section: str = "policy") -> tuple[list[Address], Secrets]:
    """The addresses with their variables filled in, and the secrets from the environment.

    Raises:
        ConfigError: There is no address, one is none or stands there twice, a variable is not set, or the key
            cannot be sent.
    """
    if not config.base_url:
        raise ConfigError(
            f"{section}.engine is 'openai' but {section}.base_url is missing; give the server's address"
        )
    key = os.environ.get(config.api_key_env, "").strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key in ${config.api_key_env} has characters that no HTTP header can carry; export it again"
        )
    parsed = [_parse(given, f"{section}.base_url") for given in config.base_url]
    addresses = [
        Address(
            str(url.copy_with(username=None, password=None)).rstrip("/"),
            httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
        )
        for url in parsed
    ]
    _refuse_twins((each.url for each in addresses), f"{section}.base_url")
    written = [
        url.userinfo.decode().partition(":")[2] for url in parsed
    ]  # as it stands there: p%40ss for p@ss
    return addresses, Secrets(key, tuple({*written, *(url.password for url in parsed)}))


def _parse(given: str, setting: str) -> httpx.URL:
    """An address as it stands in the configuration. What its variables hold is shown in no error."""
    try:
        url = httpx.URL(Template(given).substitute({k: v for k, v in os.environ.items() if v}))
    except KeyError as missing:
        raise ConfigError(
            f"{setting} is {given}, but ${missing.args[0]} is not set; export it first"
        ) from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigError(f"{setting} is {given}, which is no address; {_EXAMPLE}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"{setting} is {given}, which is no address of a web server; {_EXAMPLE}") from None
    return url


def _refuse_twins(urls: Iterable[str], setting: str) -> None:
    seen: set[str] = set()
    for url in urls:
        if url in seen:
            raise ConfigError(f"{setting} names {url} twice; name each server once")
        seen.add(url)
