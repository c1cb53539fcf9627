"""Every pair of statuses, under each registry configuration."""

from __future__ import annotations

from datetime import date
from itertools import product

import pytest

from certificates.lifecycle import Status, may_follow, status_on

ALLOWED = {
    ("Active", "Active"),
    ("Active", "Reserved"),
    ("Active", "Locked"),
    ("Active", "Cancelled"),
    ("Reserved", "Active"),
    ("Reserved", "Cancelled"),
    ("Locked", "Active"),
    ("Locked", "Withdrawn"),
    ("Cancelled", "Claimed"),
}


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
@pytest.mark.parametrize("configuration", [1, 2, 3])
def test_closed_list(before: Status, after: Status, configuration: int) -> None:
    final = before is Status.RESERVED and configuration == 2
    assert may_follow(before, after, configuration) == ((before, after) in ALLOWED and not final)


@pytest.mark.parametrize("status", list(Status))
def test_expired_is_computed_for_what_can_still_expire(status: Status) -> None:
    expiry = date(2028, 6, 1)
    assert status_on(status, expiry, date(2028, 5, 31)) is status
    expires = status in (Status.ACTIVE, Status.RESERVED)
    assert status_on(status, expiry, expiry) is (Status.EXPIRED if expires else status)
