"""What a successor takes over from the token before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certificates.document import MAX_DOCUMENT_BYTES
from certificates.lifecycle import Status
from certificates.successor import MOST_NOTE_BYTES, succeed
from certificates.token import encode_fields


@pytest.mark.parametrize(
    ("note", "is_kept"),
    [
        ({"import": {"source_registry": "Elsewhere"}}, True),
        ("x" * (MOST_NOTE_BYTES - 2), True),
        ("x" * (MOST_NOTE_BYTES - 1), False),
        ("ä" * (MOST_NOTE_BYTES - 2), False),
    ],
)
def test_a_note_is_passed_on_unless_it_is_long(maker: Any, note: Any, is_kept: bool) -> None:
    token = replace(maker.token(), extras={"note": note})
    assert succeed(token, maker.key(1)).extras == ({"note": note} if is_kept else {})


def test_a_document_that_a_note_has_filled_can_still_be_cancelled(maker: Any) -> None:
    """Who sends such a token to an account does not keep it from being retired there."""
    token = replace(maker.token(), extras={"note": ""})
    room = MAX_DOCUMENT_BYTES - len(encode_fields(token)[0])
    full = replace(token, extras={"note": "x" * room})
    assert len(encode_fields(full)[0]) == MAX_DOCUMENT_BYTES
    cancelled = succeed(full, maker.key(1), status=Status.CANCELLED, extras={"beneficiary": {"name": "Ada"}})
    assert len(encode_fields(cancelled)[0]) < MAX_DOCUMENT_BYTES
    assert maker.reread(cancelled).bundle.status is Status.CANCELLED
