"""Certificates: issued, found, acted on, brought in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from energytag.client.connection import Connection
from energytag.client.refusals import refusal_of
from energytag.models.answers import (
    ActionRead,
    GranularCertificateActionResponse,
    GranularCertificateBundle,
    GranularCertificateQueryResponse,
    IssuanceBundles,
    Lineage,
)
from energytag.models.certificate_actions import (
    CertificateActionBase,
    GranularCertificateCancellation,
    GranularCertificateClaim,
    GranularCertificateLock,
    GranularCertificateRelease,
    GranularCertificateReservation,
    GranularCertificateSplit,
    GranularCertificateTransfer,
    GranularCertificateUnlock,
    GranularCertificateUpdateMutables,
    GranularCertificateWithdraw,
)
from energytag.models.certificates import (
    GranularCertificateBundleCreate,
    GranularCertificateCreateMany,
    GranularCertificatePublish,
    GranularCertificateQuery,
)
from energytag.models.imports import CertificateImport, CertificateImportResponse
from energytag.models.recurring import (
    GranularCertificateRecurringCancellation,
    GranularCertificateRecurringClaim,
    GranularCertificateRecurringTransfer,
)

_ROOT = "/certificates"
Form = Literal["csv", "jsonl"]
_MEDIA = {"csv": "text/csv", "jsonl": "application/jsonl"}
Response = GranularCertificateActionResponse


class Certificates:
    """Calls that act on bundles answer as soon as the registry does: `action_state` tells whether it is done, and
    `Actions.wait` waits for it. A rejected action is raised."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Issuing

    async def create(self, bundle: GranularCertificateBundleCreate) -> GranularCertificateBundle:
        """Issue a bundle; `NotFinished` when that takes longer than the registry lets a call wait."""
        return await self._connection.read(GranularCertificateBundle, "POST", f"{_ROOT}/create", bundle)

    async def create_many(self, body: GranularCertificateCreateMany) -> ActionRead:
        """Issue many bundles, all or none, as stated or from a device's readings."""
        return await self._connection.read(ActionRead, "POST", f"{_ROOT}/create_many", body)

    async def publish(self, body: GranularCertificatePublish) -> Response:
        """Publish bundles that were issued privately."""
        return await self._act("publish", body)

    # Finding

    async def query_page(self, asked: GranularCertificateQuery) -> GranularCertificateQueryResponse:
        """One page of what a query finds."""
        return await self._connection.read(
            GranularCertificateQueryResponse, "POST", f"{_ROOT}/query", asked, is_safe=True
        )

    async def query(self, asked: GranularCertificateQuery) -> AsyncIterator[GranularCertificateBundle]:
        """All that a query finds, page by page; `limit` is the size of a page."""
        while True:
            page = await self.query_page(asked)
            for bundle in page.filtered_certificate_bundles:
                yield bundle
            if page.cursor is None:
                return
            asked = asked.model_copy(update={"cursor": page.cursor})

    async def bundle(self, outpoint: str) -> GranularCertificateBundle:
        """The bundle at `<txid>.<index>`, with the BEEF that proves it."""
        return await self._connection.read(GranularCertificateBundle, "GET", f"{_ROOT}/bundle/{outpoint}")

    async def issuance(self, issuance_id: str) -> IssuanceBundles:
        """Where the parts of an issuance stand now."""
        return await self._connection.read(IssuanceBundles, "GET", f"{_ROOT}/{issuance_id}")

    async def lineage(self, issuance_id: str) -> Lineage:
        """What became of an issuance, transaction by transaction."""
        return await self._connection.read(Lineage, "GET", f"{_ROOT}/{issuance_id}/lineage")

    # Acting

    async def transfer(self, body: GranularCertificateTransfer) -> Response:
        return await self._act("transfer", body)

    async def split(self, body: GranularCertificateSplit) -> Response:
        return await self._act("split", body)

    async def cancel(self, body: GranularCertificateCancellation) -> Response:
        return await self._act("cancel", body)

    async def claim(self, body: GranularCertificateClaim) -> Response:
        return await self._act("claim", body)

    async def withdraw(self, body: GranularCertificateWithdraw) -> Response:
        return await self._act("withdraw", body)

    async def reserve(self, body: GranularCertificateReservation) -> Response:
        return await self._act("reserve", body)

    async def release(self, body: GranularCertificateRelease) -> Response:
        return await self._act("release", body)

    async def lock(self, body: GranularCertificateLock) -> Response:
        return await self._act("lock", body)

    async def unlock(self, body: GranularCertificateUnlock) -> Response:
        return await self._act("unlock", body)

    async def update_mutables(self, body: GranularCertificateUpdateMutables) -> Response:
        return await self._act("update_mutables", body, method="PATCH")

    async def recurring_transfer(self, body: GranularCertificateRecurringTransfer) -> Response:
        """Begin a series; its id is the action's."""
        return await self._act("recurring_transfer", body)

    async def recurring_cancel(self, body: GranularCertificateRecurringCancellation) -> Response:
        """Begin a series; its id is the action's."""
        return await self._act("recurring_cancel", body)

    async def recurring_claim(self, body: GranularCertificateRecurringClaim) -> Response:
        """Begin a series; its id is the action's."""
        return await self._act("recurring_claim", body)

    async def _act(
        self, name: str, body: CertificateActionBase | GranularCertificatePublish, method: str = "POST"
    ) -> Response:
        response = await self._connection.read(Response, method, f"{_ROOT}/{name}", body)
        if response.action_response_status == "rejected":
            raise refusal_of({} if response.error is None else response.error.model_dump())
        return response

    # From and to other registries

    async def bring_in(self, body: CertificateImport) -> CertificateImportResponse:
        """Issue here what was given up in another registry."""
        return await self._connection.read(CertificateImportResponse, "POST", f"{_ROOT}/import", body)

    async def bring_in_table(
        self, table: bytes, source_registry: str, account_id: str
    ) -> CertificateImportResponse:
        """The same from a table (CSV, UTF-8), without a proof."""
        return await self._connection.read(
            CertificateImportResponse,
            "POST",
            f"{_ROOT}/import",
            params={"source_registry": source_registry, "account_id": account_id},
            content=table,
            media_type="text/csv",
        )

    def export(self, asked: GranularCertificateQuery, form: Form = "jsonl") -> AsyncIterator[bytes]:
        """All that a query finds as a file, in pieces."""
        return self._connection.stream(f"{_ROOT}/export", asked, _MEDIA[form])
