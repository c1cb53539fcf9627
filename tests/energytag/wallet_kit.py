"""A registry with an account whose certificates live in its user's own wallet."""

from __future__ import annotations

from typing import Any

from basket.remote import RemoteWallet
from energytag.actions import Kind
from energytag.delivery import Deliveries
from energytag.records import ACCOUNTS
from energytag.registry import Registry
from energytag.signing import Prepared, create_action
from overlay.builder import ALL_FORKID, Sighasher
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.pushdrop import encode_push
from store.port import Put
from store.sqlite import SqliteStore
from tests.basket.brc100 import Wallet
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode, account_row
from tests.overlay.kit import Chain, Clock

BOUND = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d77"
USER_ID = "11111111-2222-4333-8444-555555555555"
USER_KEY = PrivateKey.from_int(777)


class WalletRegistry(RegistryNode):
    """`wallet` serves over HTTP; `remote` is a client of it."""

    def __init__(self, chain: Chain, store: SqliteStore, clock: Clock) -> None:
        super().__init__(chain, store, clock)
        self.registry = Registry(self.registry.ground, self.treasury, Deliveries(clock).writes_for)
        self.wallet = Wallet(USER_KEY)

    async def begin(self) -> None:
        await self.open()
        self._runner = await self.wallet.serve()
        self.remote = RemoteWallet(self.wallet.url, "metawatt", timeout_secs=10)
        self.wallet.fund(await self.chain.dev.faucet(self.wallet.funds_script, 50_000, 4))
        await self.populate()
        await self.bind()

    async def restart_wallet(self) -> None:
        """Serve the wallet's methods as they are now."""
        await self._runner.cleanup()
        self._runner = await self.wallet.serve()

    async def bind(self, **fields: Any) -> None:
        await self.store.commit([Put(ACCOUNTS, account_row(BOUND, identity_key=USER_KEY.public, **fields))])

    async def end(self) -> None:
        await self.remote.close()
        await self._runner.cleanup()
        await self.close()

    async def give(self, count: int = 1) -> None:
        """Issue bundles, and transfer them to the bound account."""
        await self.issue(0, count)
        request = transfer(ACCOUNT, BOUND, device_id=DEVICE)
        await self.resolved(Kind.TRANSFER, request)

    async def to_sign(self, prepared: dict[str, Any]) -> dict[str, Any]:
        return await create_action(self.store, Prepared.from_json(prepared))

    async def signed(self, prepared: dict[str, Any]) -> bytes:
        """What the user's wallet makes of it, driven as a wallet's app would drive it."""
        asked = await self.to_sign(prepared)
        action = await self.remote.create_action(asked["createAction"])
        assert action.signable is not None
        envelope = parse_envelope(action.signable.beef)
        hasher = Sighasher(envelope.subject)
        scripts = {}
        for index, unlock in enumerate(asked["unlock"]):
            spent = envelope.subject.inputs[index]
            source = envelope.members[spent.source_txid].transaction.outputs[spent.source_index]
            level, name = unlock["protocolID"]
            signature = await self.remote.sign(
                hasher.digest(index, source), (level, name), unlock["keyID"], bytes.fromhex(unlock["counterparty"])
            )
            scripts[index] = encode_push(signature + bytes((ALL_FORKID,)))
        return await self.remote.sign_action(action.signable.reference, scripts)


def transfer(source: str, target: str, **fields: Any) -> dict[str, Any]:
    return {"source_account_id": source, "source_user_id": USER_ID, "target_account_id": target} | fields
