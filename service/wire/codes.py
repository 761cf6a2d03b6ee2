"""The codes of a chart of accounts."""

from typing import Annotated

from msgspec import Meta, Struct

from .scalars import AccountCode


class CodeView(Struct, kw_only=True, frozen=True, gc=False):
    """A code that stands for accounts of the ledger."""

    code: AccountCode
    has_accounts: Annotated[bool, Meta(description="Whether accounts have just this code.")]
    goes_on: Annotated[
        bool, Meta(description="Whether accounts have codes that go on behind it: ask for them with it as `prefix`.")
    ]
