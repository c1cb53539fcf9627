"""Topic managers for certificates: the rules of `certificates.admission` on the overlay's transactions."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Final, TypeVar

from certificates.admission import Judgement, Placed, Read, Verdict, View, judge, read_fields
from certificates.bundle import Bundle
from certificates.document import MAX_DOCUMENT_BYTES
from certificates.policy import Policy
from overlay import pushdrop
from overlay.topic import Admission, Metadata, Submission
from topics.keychain import Keychain
from topics.names import TopicName

VERSION: Final = "1.0.0"
MAX_TOKEN_SCRIPT_BYTES: Final = 2 * MAX_DOCUMENT_BYTES
"""A larger script is not a certificate: the document is bounded, and the fourth field need not be large."""
REMEMBERED_SCRIPTS: Final = 1024
STEPS_A_TURN: Final = 32
"""Outputs that are read or judged before other tasks have their turn; about 3 ms when all are new."""

T = TypeVar("T")

_KEYCHAIN: Final = Keychain()


@lru_cache(REMEMBERED_SCRIPTS)
def read_script(script: bytes) -> Read | None:
    """The token that a locking script holds; None when it is no PushDrop. The last ones are remembered,
    since several topics read one transaction, and an output is soon a coin."""
    if len(script) > MAX_TOKEN_SCRIPT_BYTES:
        return None
    found = pushdrop.decode(script)
    return None if found is None else read_fields(found.locking_key, found.fields)


class CertificateTopic:
    """The topic of all certificates, of a source, of a country, or of a source in a country.

    Stateless and pure: its judgement depends on the transaction, its coins and the policy alone (I8).
    """

    def __init__(self, topic: TopicName, policy: Policy) -> None:
        self._topic, self._policy = topic, policy

    @property
    def name(self) -> str:
        return self._topic.name

    @cached_property
    def metadata(self) -> Metadata:
        return Metadata(self.name, f"Granular energy certificates{self._what()}.", version=VERSION)

    @cached_property
    def documentation(self) -> str:
        text = files("topics").joinpath("certificates.md").read_text("utf-8")
        return (
            text.replace("{name}", self.name).replace("{what}", self._what()).replace("{issuers}", self._issuers())
        )

    async def judge(self, submission: Submission) -> Admission:
        view = View(
            submission.transaction.inputs[0].outpoint,
            await _in_turns(_placed(_outputs(submission))),
            await _in_turns(_placed(_coins(submission))),
        )
        judgement = Judgement(view, self._policy, _KEYCHAIN, self._topic.scope)
        await _in_turns(judgement.steps())
        verdict = judgement.verdict()
        return Admission(verdict.outputs_to_admit, verdict.coins_to_retain, verdict.waits_for_coins)

    def explain(self, submission: Submission) -> Verdict:
        """The judgement with its reasons, for people who wonder why an output was not admitted."""
        return judge(view_of(submission), self._policy, _KEYCHAIN, self._topic.scope)

    def takes(self, bundle: Bundle) -> bool:
        """Whether a bundle is of this topic's source and country."""
        return self._topic.scope.includes(bundle)

    def _what(self) -> str:
        scope = self._topic.scope
        source = f" from {scope.source.replace('_', ' ')}" if scope.source else ""
        return source + (f" issued in {scope.region}" if scope.region else "")

    def _issuers(self) -> str:
        region = self._topic.scope.region
        trusted = [
            each
            for each in self._policy.issuers
            if region is None or self._policy.trusts(each.identity_key, region)
        ]
        lines = [f"- {each.name}, `{each.identity_key.hex()}`{_for_regions(each.regions)}" for each in trusted]
        return "\n".join(lines) or "None yet; the operator sets `topics.issuers`."


def _for_regions(regions: Iterable[str]) -> str:
    listed = ", ".join(sorted(regions))
    return f", for {listed}" if listed else ""


def view_of(submission: Submission) -> View:
    """What the rules look at in a submission."""
    outpoint = submission.transaction.inputs[0].outpoint
    return View(outpoint, list(_placed(_outputs(submission))), list(_placed(_coins(submission))))


def _outputs(submission: Submission) -> Iterator[tuple[int, int, bytes]]:
    for index, output in enumerate(submission.transaction.outputs):
        yield index, output.satoshis, output.script


def _coins(submission: Submission) -> Iterator[tuple[int, int, bytes]]:
    return ((coin.input_index, coin.satoshis, coin.script) for coin in submission.coins)


def _placed(scripts: Iterable[tuple[int, int, bytes]]) -> Iterator[Placed]:
    for index, satoshis, script in scripts:
        content = read_script(script)
        if content is not None:
            yield Placed(index, satoshis, content)


async def _in_turns(steps: Iterable[T]) -> list[T]:
    """Go through the steps; after every few the loop is given to others, so that a transaction with
    thousands of certificates holds nobody up."""
    done: list[T] = []
    for step in steps:
        done.append(step)
        if len(done) % STEPS_A_TURN == 0:
            await sleep(0)
    return done
