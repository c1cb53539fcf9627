"""Who a deposit is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.mirror.from_solana.recipients import Account, Recipients, Stranger, parsed
from bridge.mirror.message import Message, Reason
from bridge.mirror.states import Direction, Hold, Kind
from energytag.records import ACCOUNTS, DIRECTORY
from overlay.keys import PrivateKey
from store.port import Put
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, account_row

KEY = PrivateKey.from_int(7).public
OTHERS_KEY = PrivateKey.from_int(8).public
BRIDGES_KEY = PrivateKey.from_int(9).public
GONE = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9dff"
LATER = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d13"


@pytest.fixture
async def recipients(tmp_path: Path) -> AsyncIterator[Recipients]:
    """One account with an identity key and another of the same, one without, and one that was deleted."""
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open(DIRECTORY)
    rows = [
        account_row(ACCOUNT),
        account_row(OTHER_ACCOUNT, identity_key=KEY),
        account_row(LATER, identity_key=KEY),
        account_row(GONE, identity_key=None, deleted=1),
    ]
    await store.commit([Put(ACCOUNTS, row) for row in rows])
    yield Recipients(store, BRIDGES_KEY)
    await store.close()


def message(recipient: str) -> Message:
    return Message(
        id=recipient.encode(),
        direction=Direction.IN,
        kind=Kind.DEPOSIT,
        asset="mint",
        units=10**6,
        source_tx=bytes(64),
        source_event=bytes(70),
        recipient=recipient,
        created_ms=0,
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ACCOUNT, Account(ACCOUNT)),
        (ACCOUNT.upper(), Account(ACCOUNT)),
        (KEY.hex(), Account(OTHER_ACCOUNT)),
        (KEY.hex().upper(), Account(OTHER_ACCOUNT)),
        (OTHERS_KEY.hex(), Stranger(OTHERS_KEY)),
        (BRIDGES_KEY.hex(), Hold.RECIPIENT_MALFORMED),
        (GONE, Hold.RECIPIENT_UNKNOWN),
        ("0b7cdd5c-2b0c-4d0e-9d1b-000000000000", Hold.RECIPIENT_UNKNOWN),
        ("", Hold.RECIPIENT_MALFORMED),
        ("alice", Hold.RECIPIENT_MALFORMED),
        (f" {ACCOUNT}", Hold.RECIPIENT_MALFORMED),
        (f"{ACCOUNT}\n", Hold.RECIPIENT_MALFORMED),
        (ACCOUNT.replace("-", ""), Hold.RECIPIENT_MALFORMED),
        ("{" + ACCOUNT + "}", Hold.RECIPIENT_MALFORMED),
        (KEY.hex()[:-2], Hold.RECIPIENT_MALFORMED),
        (KEY.hex() + "00", Hold.RECIPIENT_MALFORMED),
        ("04" + KEY.hex()[2:], Hold.RECIPIENT_MALFORMED),
        ("02" + "ff" * 32, Hold.RECIPIENT_MALFORMED),
        ("02" + "00" * 32, Hold.RECIPIENT_MALFORMED),
        ("00" * 33, Hold.RECIPIENT_MALFORMED),
        ("\N{FULLWIDTH DIGIT TWO}" * 66, Hold.RECIPIENT_MALFORMED),
    ],
)
async def test_who_is_meant(recipients: Recipients, text: str, found: Account | Stranger | Hold) -> None:
    (told,) = await recipients.found([message(text)])
    assert (told.code if isinstance(told, Reason) else told) == found


async def test_many_at_once_are_answered_in_their_order(recipients: Recipients) -> None:
    texts = [OTHERS_KEY.hex(), ACCOUNT, "nobody", KEY.hex(), GONE, ACCOUNT]
    told = await recipients.found([message(text) for text in texts])
    assert [type(each) for each in told] == [Stranger, Account, Reason, Account, Reason, Account]


def test_facts() -> None:
    assert Account(ACCOUNT).facts == {"account_id": ACCOUNT}
    assert Stranger(KEY).facts == {"identity": KEY.hex()}
    assert parsed(KEY.hex()) == Stranger(KEY)
