"""Statements of accounts as ISO 20022 messages: camt.053.001.08, Bank to Customer Statement.

Credits and debits are those of the ledger: an account whose normal side is debit has a debit balance. Identifiers are
written without their dashes, since the message takes 34 or 35 characters. What a text has beyond the longest that an
element takes follows in further elements, or is cut where there is one alone (the names of accounts).
"""

from collections.abc import Iterable, Sequence
from uuid import UUID
from xml.sax.saxutils import escape

from service.domain.fingerprints import fingerprint
from service.domain.statements import Line
from service.errors import AmountTooLargeError
from service.journals.amounts import decimal_text, exponent_of
from service.journals.statements import WholeStatement
from service.journals.writing import instant

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
AMOUNT_MAX = 10**18 - 1
"""An amount has 18 digits at most."""

_IDENTIFIER_MAX, _NAME_MAX, _LINE_MAX, _TEXT_MAX = 35, 70, 140, 500
_INDICATORS = {"credit": "CRDT", "debit": "DBIT"}
_OTHER = {"credit": "debit", "debit": "credit"}


class Camt053Statement:
    """A statement as one message. Raises UnknownCurrencyError for a currency that was withdrawn, whose exponent is not
    known, and AmountTooLargeError for more than AMOUNT_MAX.
    """

    def __init__(self, whole: WholeStatement) -> None:
        self._whole = whole
        self._account = whole.statement.account
        self._exponent = exponent_of(self._account.currency)

    def begin(self) -> bytes:
        """Return what stands before the entries: who, when, the balances."""
        statement, account = self._whole.statement, self._account
        period = statement.period
        made_at = instant(self._whole.made_at)
        digest = fingerprint(
            "statement", self._whole.ledger, account.id, statement.axis, period.start, period.end, statement.known_at
        )
        name = digest.hex()
        called = account.name or account.reference
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}"><BkToCstmrStmt>'
            f"<GrpHdr><MsgId>{name}</MsgId><CreDtTm>{made_at}</CreDtTm></GrpHdr>"
            f"<Stmt><Id>{name}</Id><CreDtTm>{made_at}</CreDtTm>"
            f"<FrToDt><FrDtTm>{instant(period.start)}</FrDtTm><ToDtTm>{instant(period.end)}</ToDtTm></FrToDt>"
            f"<Acct>{_account_id(account.id)}<Ccy>{account.currency}</Ccy>{_cut('Nm', called, _NAME_MAX)}</Acct>"
            f"{self._balance('OPBD', statement.opening, instant(period.start))}"
            f"{self._balance('CLBD', statement.closing, instant(period.end))}\n"
        ).encode()

    def add(self, lines: Sequence[Line]) -> bytes:
        """Return an entry for each of ``lines``."""
        return "".join(map(self._entry, lines)).encode()

    def end(self) -> Iterable[bytes]:
        """Return what stands behind the entries: what proves them."""
        statement, proof = self._whole.statement, self._whole.proof
        told = (
            f"Ledger {self._whole.ledger}, axis {statement.axis}, known at {instant(statement.known_at)}."
            " Nothing of the end of the period itself is in it."
        )
        if proof is not None:
            told += f" Log checkpoint: size {proof.size}, root {proof.root_text}."
        yield f"<AddtlStmtInf>{_text(told)}</AddtlStmtInf></Stmt></BkToCstmrStmt></Document>\n".encode()

    def close(self) -> None:
        """Nothing was taken."""

    def _entry(self, line: Line) -> str:
        transfer, moved = line.transfer, self._amount(line.amount)
        other = f"{_account_id(line.counterparty_id)}{_cut('Nm', _counterparty(line), _NAME_MAX)}"
        own = _account_id(self._account.id)
        debited = transfer.debit_account_id == self._account.id
        debtor, creditor = (own, other) if debited else (other, own)
        name = transfer.id.hex
        elsewhere = _if_longer(
            "counterparty reference", line.counterparty_reference, 0 if line.counterparty_name else _NAME_MAX
        )
        return (
            f"<Ntry><NtryRef>{name}</NtryRef>{moved}"
            f"{'' if transfer.reverses_id is None else '<RvslInd>true</RvslInd>'}<Sts><Cd>BOOK</Cd></Sts>"
            f"<BookgDt><DtTm>{instant(transfer.created_at)}</DtTm></BookgDt>"
            f"<ValDt><DtTm>{instant(transfer.effective_at)}</DtTm></ValDt><AcctSvcrRef>{name}</AcctSvcrRef>"
            f"<BkTxCd><Prtry><Cd>{_kind(line)}</Cd></Prtry></BkTxCd><NtryDtls><TxDtls>{_references(line)}{moved}"
            f"<RltdPties><InitgPty><Pty>{_cut('Nm', transfer.client_id, _LINE_MAX)}</Pty></InitgPty>"
            f"<DbtrAcct>{debtor}</DbtrAcct><CdtrAcct>{creditor}</CdtrAcct></RltdPties>{_remittance(line)}"
            f"{_cut('AddtlTxInf', _if_longer('reference', transfer.reference, _IDENTIFIER_MAX), _TEXT_MAX)}"
            f"</TxDtls></NtryDtls>{_cut('AddtlNtryInf', elsewhere, _TEXT_MAX)}</Ntry>\n"
        )

    def _balance(self, code: str, balance: int, time: str) -> str:
        kind = f"<Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
        return f"<Bal>{kind}{self._amount(balance)}<Dt><DtTm>{time}</DtTm></Dt></Bal>"

    def _amount(self, amount: int) -> str:
        """Return ``amount``, on the account's normal side, without its sign, and the side that it stands on."""
        side = self._account.normal_side if amount >= 0 else _OTHER[self._account.normal_side]
        if abs(amount) > AMOUNT_MAX:
            raise AmountTooLargeError(f"{amount} has more than 18 digits, and a message takes no more")
        return (
            f'<Amt Ccy="{self._account.currency}">{decimal_text(abs(amount), self._exponent)}</Amt>'
            f"<CdtDbtInd>{_INDICATORS[side]}</CdtDbtInd>"
        )


def _account_id(account_id: UUID) -> str:
    return f"<Id><Othr><Id>{account_id.hex}</Id></Othr></Id>"


def _counterparty(line: Line) -> str | None:
    return line.counterparty_name or line.counterparty_reference


def _kind(line: Line) -> str:
    if line.transfer.reverses_id is not None:
        return "REVERSAL"
    return "TRANSFER" if line.transfer.hold_id is None else "CAPTURE"


def _references(line: Line) -> str:
    """Return what the transfer is called: by its caller as far as that is short, by the log, by what it refers to."""
    transfer = line.transfer
    reference = transfer.reference
    end_to_end = reference if reference is not None and len(reference) <= _IDENTIFIER_MAX else "NOTPROVIDED"
    others = {
        "account version": line.version,
        "log index": line.log_index,
        "hold": None if transfer.hold_id is None else transfer.hold_id.hex,
        "reverses": None if transfer.reverses_id is None else transfer.reverses_id.hex,
    }
    told = "".join(
        f"<Prtry><Tp>{name}</Tp><Ref>{value}</Ref></Prtry>" for name, value in others.items() if value is not None
    )
    return f"<Refs><EndToEndId>{_text(end_to_end)}</EndToEndId><TxId>{transfer.id.hex}</TxId>{told}</Refs>"


def _remittance(line: Line) -> str:
    description = line.transfer.description
    if not description:
        return ""
    parts = (description[begin : begin + _LINE_MAX] for begin in range(0, len(description), _LINE_MAX))
    return f"<RmtInf>{''.join(f'<Ustrd>{_text(part)}</Ustrd>' for part in parts)}</RmtInf>"


def _if_longer(name: str, text: str | None, length: int) -> str | None:
    """Return ``text``, called ``name``, where it is longer than the element that it belongs in."""
    return f"{name}: {text}" if text is not None and len(text) > length else None


def _cut(element: str, text: str | None, length: int) -> str:
    return "" if not text else f"<{element}>{_text(text[:length])}</{element}>"


def _text(text: str) -> str:
    return escape(text, {"\r": "&#13;"})
