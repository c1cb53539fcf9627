"""Tokens and logins with a wallet, at times that the test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import Unauthorized
from energytag.logins import LOGIN_PROTOCOL, Challenge, Logins
from energytag.records import LOGINS, USERS
from energytag.tokens import Tokens, derived_secret
from overlay.keys import PrivateKey
from store.port import Put
from store.sqlite import SqliteStore
from tests.overlay.kit import Clock

NODE = PrivateKey.from_int(31)
WALLET = PrivateKey.from_int(32)
ADA = "aaaaaaaa-0000-7000-8000-000000000001"
SECRET = derived_secret(NODE.secret)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Tokens


def tokens(clock: Clock, secret: bytes = SECRET) -> Tokens:
    return Tokens(secret, 12, clock)


def test_a_token_names_its_user(clock: Clock) -> None:
    issued = tokens(clock).issue(ADA)
    assert issued.expires_secs == clock.now_ms // 1000 + 12 * 3600
    claims = tokens(clock).check(issued.token)
    assert (claims.user_id, claims.issued_secs) == (ADA, clock.now_ms // 1000)


@pytest.mark.parametrize(("hours", "good"), [(-1, False), (0, True), (1.9, True), (2.1, False)])
def test_a_token_is_good_for_its_time(clock: Clock, hours: float, good: bool) -> None:
    issued = tokens(clock).issue(ADA, 2)
    clock.now_ms += int(hours * 3_600_000)
    if good:
        assert tokens(clock).check(issued.token).user_id == ADA
    else:
        with pytest.raises(Unauthorized):
            tokens(clock).check(issued.token)


def forged(now_secs: int, secret: bytes | None = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims: dict[str, Any] = {"sub": ADA, "iat": now_secs, "exp": now_secs + 60, "jti": "1"} | changes
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, secret, algorithm=algorithm)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": b"another secret of thirty-two bytes"},
        {"secret": None, "algorithm": "none"},
        {"secret": SECRET * 2, "algorithm": "HS512"},
        {"algorithm": "HS384", "secret": SECRET + bytes(16)},
        {"sub": None},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"sub": 7},
        {"exp": 1e300},
        {"exp": "tomorrow"},
        {"iat": True},
    ],
)
def test_forged_tokens(clock: Clock, changes: dict[str, Any]) -> None:
    token = forged(clock.now_ms // 1000, **changes)
    with pytest.raises(Unauthorized):
        tokens(clock).check(token)
    assert tokens(clock).check(forged(clock.now_ms // 1000)).user_id == ADA


@given(st.text(max_size=200))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(Unauthorized):
        tokens(Clock()).check(text)


# Logins


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await opened.open([USERS, LOGINS])
    row = {"_id": ADA, "organisation_id": ADA, "identity_key": WALLET.public}
    await opened.commit([Put(USERS, row)])
    yield opened
    await opened.close()


def signed(challenge: Challenge, key: PrivateKey = WALLET, key_id: str | None = None) -> bytes:
    """As a BRC-100 wallet's `createSignature` does it."""
    own = key.derive(LOGIN_PROTOCOL, key_id or challenge.key_id, NODE.public)
    return own.sign(sha256(challenge.raw).digest())


async def test_a_wallet_logs_in_once(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    challenge = logins.challenge(WALLET.public)
    user = await logins.login(store, challenge.raw, signed(challenge))
    assert user["_id"] == ADA
    for process in (logins, Logins(NODE, 300, clock)):
        with pytest.raises(Unauthorized, match="used already"):
            await process.login(store, challenge.raw, signed(challenge))


async def test_a_wallet_may_choose_its_key_id(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    challenge = logins.challenge(WALLET.public)
    signature = signed(challenge, key_id="mine")
    with pytest.raises(Unauthorized, match="not that of the wallet"):
        await logins.login(store, challenge.raw, signature)
    assert await logins.login(store, challenge.raw, signature, "mine")


async def test_a_challenge_ends(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    challenge = logins.challenge(WALLET.public)
    clock.now_ms = challenge.expires_ms
    with pytest.raises(Unauthorized, match="has ended"):
        await logins.login(store, challenge.raw, signed(challenge))


async def test_strangers(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    other = PrivateKey.from_int(33)
    challenge = logins.challenge(other.public)
    with pytest.raises(Unauthorized, match="No user"):
        await logins.login(store, challenge.raw, signed(challenge, other))
    challenge = logins.challenge(WALLET.public)
    with pytest.raises(Unauthorized, match="not that of the wallet"):
        await logins.login(store, challenge.raw, signed(challenge, other))
    assert await store.count(LOGINS) == 0
    await logins.login(store, challenge.raw, signed(challenge))


async def test_a_challenge_cannot_be_made_up(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    good = logins.challenge(WALLET.public)
    foreign = Logins(PrivateKey.from_int(34), 300, clock).challenge(WALLET.public)
    flipped = [good.raw[:at] + bytes([good.raw[at] ^ 1]) + good.raw[at + 1 :] for at in range(len(good.raw))]
    for raw in (b"", good.raw[:-1], good.raw + b"\0", foreign.raw, *flipped):
        with pytest.raises(Unauthorized, match="no challenge"):
            await logins.login(store, raw, signed(Challenge(raw, good.key_id, 0)))


async def test_used_challenges_are_forgotten_when_they_have_ended(store: SqliteStore, clock: Clock) -> None:
    logins = Logins(NODE, 300, clock)
    for _ in range(5):
        challenge = logins.challenge(WALLET.public)
        await logins.login(store, challenge.raw, signed(challenge))
        clock.now_ms += 200_000
    assert await store.count(LOGINS) == 2
