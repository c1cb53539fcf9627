"""Whether a record satisfies a question's filters."""

from __future__ import annotations

from lookup.filters import Filters
from lookup.standing import LOST
from store.port import Document


def matches(record: Document, filters: Filters) -> bool:
    """Whether a record satisfies all filters but that of status, which needs the notices."""
    return (
        all(record[name] in values for name, values in filters.equals.items())
        and _in_window(record, filters)
        and (filters.min_quantity is None or record["quantity"] >= filters.min_quantity)
        and _has_bundle(record, filters.bundle_id)
        and (not filters.topics or not set(filters.topics).isdisjoint(record["topics"].split()))
    )


def _in_window(record: Document, filters: Filters) -> bool:
    starts_in = filters.period_start is None or record["period_start"] >= filters.period_start
    return starts_in and (filters.period_end is None or record["period_end"] <= filters.period_end)


def _has_bundle(record: Document, bundle_id: int | None) -> bool:
    return bundle_id is None or bool(record["range_start"] <= bundle_id <= record["range_end"])


def shows(status: str | None, filters: Filters) -> bool:
    """Whether a record of that status is asked for: without a filter, whatever is live."""
    if status is None:
        return False
    return status in filters.statuses if filters.statuses else status != LOST
