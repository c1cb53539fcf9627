"""The doctor's checks of the chain services: the headers service and its tip, ARC, and this machine's clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from cli.finding import Finding, broken, ok, warning
from config.settings import Settings

_OLD_TIP_SECS = 3 * 3600
_SKEW_WARNING_SECS = 10
_SKEW_BROKEN_SECS = 300
_CLOCK_CURE = "Set this machine's clock: turn on NTP (timedatectl set-ntp true)."
_MOST_REPLY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: Any


class ChainChecks:
    """Asks the chain services that the settings name. `now_secs` is this machine's clock."""

    def __init__(self, settings: Settings, now_secs: Callable[[], float]) -> None:
        self._chain = settings.chain
        self._network = settings.node.network
        self._now_secs = now_secs
        self._skews_secs: list[float] = []

    async def run(self) -> list[Finding]:
        """All checks, the clock's last, since it uses what the others heard."""
        if self._network == "dev" and self._chain.headers_url is None:
            return [ok("chain", "the embedded dev chain, inside the node")]
        timeout = aiohttp.ClientTimeout(total=self._chain.request_timeout_secs)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            found = [await self._check_headers(session), await self._check_arc(session)]
        return [*found, self._check_clock()]

    async def _check_headers(self, session: aiohttp.ClientSession) -> Finding:
        subject, cure = "headers service", "Check chain.headers_url and that the service runs."
        if self._chain.headers_url is None:
            return broken(subject, "chain.headers_url is not set", "Name a Block Headers Service.")
        url = self._chain.headers_url.rstrip("/") + "/api/v1/chain/tip/longest"
        reply = await self._get(session, url, self._chain.headers_api_key)
        if isinstance(reply, str):
            return broken(subject, reply, cure)
        if reply.status in (401, 403):
            return broken(subject, f"it refuses the API key ({reply.status})", "Set chain.headers_api_key.")
        try:
            height, created = int(reply.body["height"]), int(reply.body["header"]["creationTimestamp"])
        except (KeyError, TypeError, ValueError):
            return broken(subject, f"no tip in its answer (status {reply.status})", cure)
        return self._judge_tip(subject, height, self._now_secs() - created)

    @staticmethod
    def _judge_tip(subject: str, height: int, age_secs: float) -> Finding:
        seen = f"tip at height {height}, {age_secs / 60:.0f} minutes old"
        if age_secs < -_SKEW_BROKEN_SECS:
            return warning(subject, f"tip at height {height} is from the future", _CLOCK_CURE)
        if age_secs > _OLD_TIP_SECS:
            return warning(subject, seen, "The service may have stopped following the chain; look at its log.")
        return ok(subject, seen)

    async def _check_arc(self, session: aiohttp.ClientSession) -> Finding:
        subject, cure = "ARC", "Check chain.arc_url and that the service runs."
        if self._chain.arc_url is None:
            return warning(subject, "chain.arc_url is not set", "Without it nothing is broadcast.")
        url = self._chain.arc_url.rstrip("/") + "/v1/policy"
        reply = await self._get(session, url, self._chain.arc_api_key)
        if isinstance(reply, str):
            return broken(subject, reply, cure)
        if reply.status in (401, 403):
            return broken(subject, f"it refuses the API key ({reply.status})", "Set chain.arc_api_key.")
        if reply.status != 200 or not isinstance(reply.body, dict) or "policy" not in reply.body:
            return broken(subject, f"no policy in its answer (status {reply.status})", cure)
        return ok(subject, "answers with its policy")

    def _check_clock(self) -> Finding:
        if not self._skews_secs:
            return warning("clock", "no service told the time to compare with", "Check the clock by hand.")
        skew = min(self._skews_secs, key=abs)
        seen = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the chain services"
        if abs(skew) > _SKEW_BROKEN_SECS:
            return broken("clock", seen, _CLOCK_CURE)
        if abs(skew) > _SKEW_WARNING_SECS:
            return warning("clock", seen, _CLOCK_CURE)
        return ok("clock", "agrees with the chain services")

    async def _get(self, session: aiohttp.ClientSession, url: str, key: SecretStr | None) -> _Reply | str:
        """The reply, or in words why there is none."""
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        try:
            async with session.get(url, headers=headers) as response:
                raw = await response.content.read(_MOST_REPLY_BYTES)
                date = response.headers.get("Date")
        except TimeoutError:
            return f"{url} does not answer in time"
        except (aiohttp.ClientError, ValueError) as error:
            return f"{url} cannot be reached ({type(error).__name__}: {error})"
        self._note_date(date)
        return _Reply(response.status, _json_or_none(raw))

    def _note_date(self, date: str | None) -> None:
        if date is not None:
            with suppress(ValueError):  # a Date header that is none tells nothing of the clock
                self._skews_secs.append(self._now_secs() - parsedate_to_datetime(date).timestamp())


def _json_or_none(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
