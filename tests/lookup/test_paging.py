"""Paging while certificates arrive, move and are lost: nothing that was there and stays is repeated or skipped."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import successor
from lookup.query import Sort

HOURS = [f"2026-06-01T{hour:02}:00:00Z" for hour in range(5)]
BUNDLES = st.fixed_dictionaries(
    {
        "energy_source": st.sampled_from(["wind", "solar_pv"]),
        "country_of_issuance": st.sampled_from(["DE", "DK", "FR"]),
        "hour": st.integers(0, 3),
    }
)
QUESTIONS: list[dict[str, Any]] = [
    {},
    {"energy_source": ["wind", "solar_pv"], "country": ["DE", "DK"]},
    {"country": ["DE", "FR"]},
    {"energy_source": "wind"},
    {"energy_source": "solar_pv", "country": "DE"},
    {"status": ["Active", "Withdrawn"]},
]


def changes(bundle: dict[str, Any]) -> dict[str, Any]:
    hour = bundle["hour"]
    period = {"production_starting_interval": HOURS[hour], "production_ending_interval": HOURS[hour + 1]}
    return {name: value for name, value in bundle.items() if name != "hour"} | period


def is_asked(bundle: Any, question: dict[str, Any]) -> bool:
    return all(
        bundle.attributes[name] in (question[key] if type(question[key]) is list else [question[key]])
        for key, name in (("energy_source", "energy_source"), ("country", "country_of_issuance"))
        if key in question
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(BUNDLES, min_size=1, max_size=12),
    st.lists(BUNDLES, max_size=6),
    st.sampled_from(QUESTIONS),
    st.sampled_from(list(Sort)),
    st.integers(1, 4),
    st.data(),
)
def test_pages_are_stable(
    small_node: Any, before: list[Any], during: list[Any], question: Any, sort: Sort, limit: int, data: Any
) -> None:
    async def run() -> None:
        async with small_node() as node:
            there = await node.issue_many([changes(each) for each in before[: len(before) // 2]])
            there += [await node.issue(**changes(each)) for each in before[len(before) // 2 :]]
            stays, arriving = set(there), list(during)
            seen: list[bytes] = []
            cursor: str | None = None
            while True:
                asked = {**question, "sort": sort.value, "limit": limit} | ({"cursor": cursor} if cursor else {})
                answer = await node.ask(asked)
                seen += [each.txid + each.output_index.to_bytes(4, "little") for each in answer.found]
                cursor = answer.cursor
                if cursor is None:
                    break
                if arriving:
                    await node.issue(**changes(arriving.pop()))
                if data.draw(st.booleans()) and stays:
                    coin = data.draw(st.sampled_from(sorted(stays)))
                    stays.discard(coin)
                    await node.replace([coin], [successor.transfer(node.tokens[coin], node.key())])
            assert len(seen) == len(set(seen))
            expected = {coin for coin in stays if is_asked(node.tokens[coin].bundle, question)}
            assert expected <= set(seen)
            assert all(is_asked(node.tokens[coin].bundle, question) for coin in seen)

    asyncio.run(run())
