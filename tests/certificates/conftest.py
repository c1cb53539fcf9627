"""A maker of certificates with real keys, shared by the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from certificates.admission import Placed, Read, Verdict, View, judge, read_fields
from certificates.issuance import issue
from certificates.legacy import LegacyToken
from certificates.policy import EVERYTHING, Issuer, Policy, Scope
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL, Token, encode_fields
from certificates.withdrawal import Withdrawal
from overlay.keys import PrivateKey, derive_for_anyone
from tests.sample import ATTRIBUTES as SAMPLE
from topics.keychain import Keychain

WHOLE = Range(1, 1000)

ATTRIBUTES: dict[str, Any] = SAMPLE | {"device_capacity": 1000}


class Maker:
    """An issuing body, a bridge and holders, who make tokens and show them to the rules."""

    def __init__(self) -> None:
        self.issuer = PrivateKey.from_int(1001)
        self.bridge = PrivateKey.from_int(2001)
        self.spends = bytes.fromhex("a1" * 32) + (3).to_bytes(4, "little")
        self.keys = Keychain()
        self.policy = Policy(
            (Issuer(self.issuer.public, "Example", frozenset({"DE", "DK"})),), frozenset({self.bridge.public})
        )

    def attributes(self, **changes: Any) -> dict[str, Any]:
        return {**ATTRIBUTES, **changes}

    def key(self, number: int) -> bytes:
        """The locking key of holder `number`."""
        return PrivateKey.from_int(5000 + number).public

    def bridge_lock(self, key_id: str) -> bytes:
        return derive_for_anyone(self.bridge.public, OWNER_PROTOCOL, key_id)

    def unsigned(self, issued: Range = WHOLE, output_index: int = 0, origin: Any = None, **changes: Any) -> Token:
        return issue(
            self.attributes(**changes),
            issued,
            spends=self.spends,
            output_index=output_index,
            issuer_key=self.issuer.public,
            locking_key=self.key(0),
            origin=origin,
        )

    def token(self, issued: Range = WHOLE, output_index: int = 0, **changes: Any) -> Token:
        return self.sign(self.unsigned(issued, output_index, **changes))

    def sign(self, token: Token, issuer: PrivateKey | None = None) -> Token:
        signature = self.signature(token.signed_text, token.issuance_id, issuer)
        return replace(token, issuer_key=(issuer or self.issuer).public, signature=signature)

    def sign_notice(self, notice: Withdrawal, issuer: PrivateKey | None = None) -> Withdrawal:
        signature = self.signature(notice.signed_text, notice.issuance_id, issuer)
        return replace(notice, issuer_key=(issuer or self.issuer).public, signature=signature)

    def signature(self, text: bytes, key_id: str, issuer: PrivateKey | None = None) -> bytes:
        key = (issuer or self.issuer).derive(ISSUANCE_PROTOCOL, key_id, "anyone")
        return key.sign(sha256(text).digest())

    def reread(self, content: Token | Withdrawal | LegacyToken) -> Read:
        """The value as it is after it went through its bytes."""
        if isinstance(content, LegacyToken):
            return content
        return read_fields(content.locking_key, encode_fields(content))

    def judge(
        self,
        outputs: Sequence[Any],
        coins: Sequence[Any] = (),
        policy: Policy | None = None,
        scope: Scope = EVERYTHING,
        satoshis: int = 1,
    ) -> Verdict:
        """The verdict on a transaction with these outputs at 0, 1, …, spending these coins at inputs 0, 1, …"""

        def placed(contents: Sequence[Any]) -> list[Placed]:
            return [Placed(index, satoshis, self.reread(each)) for index, each in enumerate(contents)]

        return judge(View(self.spends, placed(outputs), placed(coins)), policy or self.policy, self.keys, scope)


@pytest.fixture(scope="session")
def maker() -> Maker:
    return Maker()
