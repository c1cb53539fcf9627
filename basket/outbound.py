"""Requests to addresses that strangers name: webhooks, and users' wallets.

Only https, and only public addresses, so that nobody has the node ask what stands beside it; on the dev network
also http to this machine. A name is looked up once, and what it was found to mean is what is connected to.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from config.errors import BadRequest, ErrorCode
from config.settings import Network

MOST_URL_CHARS: Final = 2000
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out; other prefixes lead to IPv4 addresses, or nowhere."""


def check_url(text: str, network: Network) -> URL:
    """The address, if the node may go there; `BadRequest(INVALID_FIELD)` if not."""
    try:
        url = URL(text)
        host = url.host
    except ValueError as error:
        raise _refused("is no URL") from error
    if len(text) > MOST_URL_CHARS or not host or url.user is not None or url.scheme not in ("http", "https"):
        raise _refused(f"is no http URL of at most {MOST_URL_CHARS} characters without credentials")
    if network == "dev" and host in _LOOPBACK:
        return url
    if url.scheme != "https":
        raise _refused("does not begin with https")
    if network != "dev" and (host == "localhost" or _is_literal(host)) and not is_public(host):
        raise _refused("is an address of a private network")
    return url


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is of the public internet, whatever form it hides in."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (ip not in _UNICAST or ip.sixtofour is not None or ip.teredo is not None):
        return False
    return ip.is_global and not ip.is_multicast


class PublicResolver(AbstractResolver):
    """Looks names up, and knows no others than those of public addresses."""

    def __init__(self) -> None:
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise OSError(f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


def outbound_session(network: Network, timeout_secs: float) -> aiohttp.ClientSession:
    """A session for addresses that `check_url` let pass. It keeps no cookies."""
    resolver = None if network == "dev" else PublicResolver()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit_per_host=4, limit=32),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_secs),
    )


def _refused(why: str) -> BadRequest:
    return BadRequest(f"the address {why}", ErrorCode.INVALID_FIELD)
