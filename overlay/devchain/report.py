"""What the dev chain says of a transaction, in ARC's terms, and where it is to be told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from config.errors import BadRequest, ErrorCode
from overlay.chain import TxStatus

_MAX_URL_CHARS: Final = 2048


@dataclass(frozen=True, slots=True)
class Report:
    """`merkle_path` is a BUMP; `block_hash` is in internal order; `competing` are txids in display hex."""

    txid: bytes
    status: TxStatus
    at_ms: int
    detail: str = ""
    merkle_path: bytes | None = None
    block_height: int | None = None
    block_hash: bytes | None = None
    competing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Callback:
    """Where a change of status is posted to, and the bearer token to show there; `full` asks for all
    changes rather than the last one."""

    url: str
    token: str = ""
    full: bool = False

    def check(self, remote_allowed: bool) -> None:
        """`BadRequest` unless the URL is one of this machine, or any one where that is allowed: a stranger
        must not make this process send requests into the network it stands in."""
        host = _http_host(self.url) if len(self.url) <= _MAX_URL_CHARS else None
        if not host:
            raise BadRequest("a callback URL is http or https")
        if not remote_allowed and not _is_loopback(host):
            raise BadRequest("callbacks of the dev chain go to this machine only")

    def fields(self) -> dict[str, Any]:
        return {"callback_url": self.url, "callback_token": self.token, "callback_full": self.full}


def _http_host(url: str) -> str | None:
    """The host of an http or https URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("http", "https") else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Refusal(BadRequest):
    """The miner's no. `arc_status` is ARC's number for the reason; `competing` as in `Report`."""

    default_code = ErrorCode.BROADCAST_REJECTED

    def __init__(
        self, arc_status: int, reason: str, txid: bytes | None = None, competing: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.arc_status = arc_status
        self.txid = txid
        self.competing = competing
