"""The client as a whole."""

from __future__ import annotations

import asyncio
from types import TracebackType

from energytag.client.actions import Actions, Recurring
from energytag.client.certificates import Certificates
from energytag.client.connection import Connection, Sleep
from energytag.client.directory import Accounts, Devices, Organisations, Users
from energytag.client.login import Signer, token_for, wallet_login
from energytag.client.metering import Matching, Measurements
from energytag.client.storage import Storage
from energytag.models.login import TokenReply


class RegistryClient:
    """A registry at `url`. `token` is that of a login, or the node's admin token.

    Every call may raise what the registry refuses it with, and `Unavailable` when it cannot be reached within
    `timeout_secs` and `attempts`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_secs: float = 60.0,
        attempts: int = 5,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._connection = Connection(url, token, timeout_secs=timeout_secs, attempts=attempts, sleep=sleep)
        self.organisations = Organisations(self._connection)
        self.users = Users(self._connection)
        self.accounts = Accounts(self._connection)
        self.devices = Devices(self._connection)
        self.certificates = Certificates(self._connection)
        self.storage = Storage(self._connection)
        self.measurements = Measurements(self._connection)
        self.matching = Matching(self._connection)
        self.actions = Actions(self._connection)
        self.recurring = Recurring(self._connection)

    async def __aenter__(self) -> RegistryClient:
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def login(self, identity_key: str, sign: Signer) -> TokenReply:
        """Log in with a wallet; what follows is called with the token that this gives."""
        return await wallet_login(self._connection, identity_key, sign)

    async def token_for(self, user_id: str, hours: float | None = None) -> TokenReply:
        """A token for any user; for the administrator."""
        return await token_for(self._connection, user_id, hours)
