"""What the controllers differ in that ledgers have, and the installation for itself as well."""

from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.types import Method, OperationIDCreator
from litestar.types.internal_types import PathParameterDefinition

from service.api.context import provide_installation

FOR_READERS = {"scope": "read"}
FOR_AUDITORS = {"scope": "audit"}
FOR_ADMINS = {"scope": "admin"}
OF_INSTALLATION = {"ledger": Provide(provide_installation)}
"""Puts the installation into the place of the ledger that a path would name."""


def operation_id(template: str) -> OperationIDCreator:
    """Return what names an operation: ``get{}Receipt`` is getReceipt of a ledger, getInstallationReceipt elsewhere."""

    def created(_: HTTPRouteHandler, __: Method, path: list[str | PathParameterDefinition]) -> str:
        return template.format("" if "ledgers" in path else "Installation")

    return created
