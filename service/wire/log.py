"""Receipts and keys as answers show them. Checkpoints and proofs of consistency are texts (docs/log.md)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class ReceiptView(Struct, kw_only=True, frozen=True):
    """An entry of a ledger's history, and the proof that it is in the ledger's log."""

    entry: Annotated[
        str, Meta(description="The entry's canonical bytes, as a text in UTF-8: what was hashed, and a JSON object.")
    ]
    receipt: Annotated[str, Meta(description="C2SP tlog-proof: index, path and signed checkpoint.")]


class LogKeysView(Struct, kw_only=True, frozen=True):
    """The key that signs the logs of this installation: the same for all, under the name of each log's origin."""

    origin: Annotated[str, Meta(description="The origin of the installation's own log, of its ledgers and tokens.")]
    ledger_origin: Annotated[
        str, Meta(description="The origin of a ledger's log, with the ledger's name in the place of `{ledger}`.")
    ]
    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: Annotated[str, Meta(description="The 32 bytes of the public key, in base64.")]
    verifier_key: Annotated[
        str,
        Meta(
            description="The verifier key (C2SP signed-note) of the installation's own log: name, key ID and"
            " key, with a plus between them. That of a ledger has `ledger_origin` as its name, and so another key ID:"
            " the first 4 bytes, in hex, of SHA-256 of the name, a newline, the byte 0x01 and the public key."
            " `log/key` of a ledger reads it."
        ),
    ]
