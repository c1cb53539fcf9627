"""A BRC-100 wallet with keys, coins and baskets of its own, behind real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web

from overlay.builder import Coin, P2pkhSigner, Sighasher, fee_for, make_transaction, p2pkh_lock
from overlay.devchain import Payment
from overlay.envelope import Envelope, Member, parse_envelope
from overlay.keys import Counterparty, PrivateKey
from overlay.pushdrop import decode
from overlay.transaction import Input, Output, Transaction, txid_from_hex
from overlay.wire import write_beef

_FINAL = 0xFFFF_FFFF
_INPUT_BYTES = 200


class Refusal(Exception):
    """What the wallet answers 400 to."""


@dataclass(frozen=True)
class Draft:
    """A transaction without signatures, the wallet's own coin in it by input index, and what goes into baskets."""

    transaction: Transaction
    own: dict[int, Coin]
    kept: list[tuple[int, dict[str, Any]]]


@dataclass
class Wallet:
    """`members` are transactions that it knows, with their proofs; `baskets` hold outputs by outpoint."""

    key: PrivateKey
    coins: list[Coin] = field(default_factory=list)
    members: dict[bytes, Member] = field(default_factory=dict)
    baskets: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    is_down: bool = False
    refuses: str | None = None
    pause_secs: float = 0.0
    shared: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def funds_script(self) -> bytes:
        return p2pkh_lock(self.key.public)

    def fund(self, payment: Payment) -> None:
        envelope = parse_envelope(payment.beef)
        self.members |= envelope.members
        outputs = envelope.subject.outputs
        self.coins += [Coin(payment.txid, index, outputs[index]) for index in payment.vouts]

    # Methods of BRC-100

    def is_authenticated(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"authenticated": True}

    def get_public_key(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("identityKey"):
            return {"publicKey": self.key.public.hex()}
        protocol, key_id, counterparty = _derivation(arguments)
        if arguments.get("forSelf"):
            return {"publicKey": self.key.derive(protocol, key_id, counterparty).public.hex()}
        return {"publicKey": self.key.derive_public(protocol, key_id, counterparty).hex()}

    def create_signature(self, arguments: dict[str, Any]) -> dict[str, Any]:
        digest = arguments.get("hashToDirectlySign")
        digest = bytes(digest) if digest else sha256(bytes(arguments["data"])).digest()
        return {"signature": list(self.key.derive(*_derivation(arguments)).sign(digest))}

    def create_action(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The caller's inputs and outputs first, in order; then the wallet's funding and its change."""
        assert 5 <= len(arguments["description"]) <= 50
        if self.refuses is not None:
            raise Refusal(self.refuses)
        if txids := arguments.get("options", {}).get("sendWith"):
            self.shared += txids
            return {"sendWithResults": [{"txid": txid, "status": "unproven"} for txid in txids]}
        foreign = self._foreign(arguments)
        outputs = [Output(each["satoshis"], bytes.fromhex(each["lockingScript"])) for each in arguments["outputs"]]
        size = sum(len(each.script) + 20 for each in outputs) + _INPUT_BYTES * (len(foreign) + 2)
        spare = sum(each.output.satoshis for each in foreign) - sum(each.satoshis for each in outputs)
        needed = fee_for(size) - spare
        funding = next((each for each in self.coins if each.output.satoshis >= needed), None)
        if funding is None:
            raise Refusal("insufficient funds")
        self.coins.remove(funding)
        outputs.append(Output(funding.output.satoshis - needed, self.funds_script))
        inputs = [Input(each.txid, each.index, b"", _FINAL) for each in [*foreign, funding]]
        draft = make_transaction(inputs, outputs)
        reference = f"ref{len(self.calls)}"
        kept = [(index, each) for index, each in enumerate(arguments["outputs"]) if "basket" in each]
        self.drafts[reference] = Draft(draft, {len(foreign): funding}, kept)
        if foreign:
            return {"signableTransaction": {"tx": list(self._beef(draft)), "reference": reference}}
        return self.sign_action({"reference": reference, "spends": {}})

    def _foreign(self, arguments: dict[str, Any]) -> list[Coin]:
        if not arguments.get("inputs"):
            return []
        self.members |= parse_envelope(bytes(arguments["inputBEEF"])).members
        coins = []
        for each in arguments["inputs"]:
            assert each["unlockingScriptLength"] > 0
            txid_hex, _, index = each["outpoint"].partition(".")
            txid = txid_from_hex(txid_hex)
            coins.append(Coin(txid, int(index), self.members[txid].transaction.outputs[int(index)]))
        return coins

    def sign_action(self, arguments: dict[str, Any]) -> dict[str, Any]:
        draft = self.drafts.pop(arguments["reference"])
        hasher = Sighasher(draft.transaction)
        scripts = {int(i): bytes.fromhex(each["unlockingScript"]) for i, each in arguments["spends"].items()}
        for index, coin in draft.own.items():
            scripts[index] = P2pkhSigner(self.key).unlock(hasher.digest(index, coin.output), 0x41)
        inputs = [
            spend._replace(unlocking_script=scripts[index]) for index, spend in enumerate(draft.transaction.inputs)
        ]
        signed = make_transaction(inputs, draft.transaction.outputs)
        self.members[signed.txid] = Member(signed)
        self.coins.append(Coin(signed.txid, len(signed.outputs) - 1, signed.outputs[-1]))
        for index, output in draft.kept:
            self._insert(signed, index, output)
        return {"txid": signed.txid_hex, "tx": list(self._beef(signed))}

    def abort_action(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The coins of a draft are free again."""
        draft = self.drafts.pop(arguments["reference"], None)
        if draft is None:
            raise Refusal("there is no such action")
        self.coins += draft.own.values()
        return {"aborted": True}

    def internalize_action(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Takes only what it can unlock."""
        assert 5 <= len(arguments["description"]) <= 50
        envelope = parse_envelope(bytes(arguments["tx"]))
        self.members |= envelope.members
        for each in arguments["outputs"]:
            assert each["protocol"] == "basket insertion"
            self._insert(envelope.subject, each["outputIndex"], each["insertionRemittance"])
        return {"accepted": True}

    def _insert(self, transaction: Transaction, index: int, remittance: dict[str, Any]) -> None:
        instructions = json.loads(remittance["customInstructions"])
        token = decode(transaction.outputs[index].script)
        assert token is not None
        if self.key.derive(*_derivation(instructions)).public != token.locking_key:
            raise Refusal("this wallet cannot unlock the output")
        name = f"{transaction.txid_hex}.{index}"
        self.baskets.setdefault(remittance["basket"], {})[name] = {
            "outpoint": name,
            "satoshis": transaction.outputs[index].satoshis,
            "spendable": True,
            "customInstructions": remittance["customInstructions"],
            "tags": remittance.get("tags", []),
        }

    def list_outputs(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found = list(self.baskets.get(arguments["basket"], {}).values())
        return {"totalOutputs": len(found), "outputs": found[: arguments.get("limit", 10)]}

    def _beef(self, subject: Transaction) -> bytes:
        envelope = Envelope(subject, {**self.members, subject.txid: Member(subject)})
        proven = [(each.transaction, each.bump.raw if each.bump else None) for each in envelope.ancestry()]
        return write_beef(proven, atomic_txid=subject.txid)

    # HTTP

    async def serve(self) -> web.AppRunner:
        methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "isAuthenticated": self.is_authenticated,
            "getPublicKey": self.get_public_key,
            "createSignature": self.create_signature,
            "createAction": self.create_action,
            "signAction": self.sign_action,
            "abortAction": self.abort_action,
            "internalizeAction": self.internalize_action,
            "listOutputs": self.list_outputs,
        }

        async def answer(request: web.Request) -> web.Response:
            name, arguments = request.match_info["method"], await request.json()
            self.calls.append((name, arguments, request.headers.get("Originator")))
            await asyncio.sleep(self.pause_secs)
            if self.is_down:
                return web.Response(status=502)
            if name not in methods:
                return web.json_response({"message": f"no method {name}"}, status=404)
            try:
                return web.json_response(methods[name](arguments))
            except Refusal as refusal:
                return web.json_response({"isError": True, "code": 7, "message": str(refusal)}, status=400)

        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{method}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner


def _derivation(arguments: dict[str, Any]) -> tuple[tuple[int, str], str, Counterparty]:
    level, name = arguments["protocolID"]
    other = arguments.get("counterparty", "self")
    return (level, name), arguments["keyID"], other if other in ("self", "anyone") else bytes.fromhex(other)
