"""Every exception of the service, in one tree.

    FundsError                    the base: ``except FundsError`` catches all that the service itself raises
    ├── OperatorError             an operator can set it right: a command ends with its sentence, and no traceback
    │   ├── SettingsError             a FUNDS_* variable cannot be used (also a ValueError)
    │   ├── EmbeddedPostgresError     the embedded PostgreSQL cannot do what was asked
    │   ├── DatabaseUnusableError     the database cannot be used, or not under this role
    │   │   ├── DatabaseAwayError         it does not answer now
    │   │   │   └── NoServerError             none of several servers can be used now (also a ConnectionError)
    │   │   └── TlsRefusedError           it does not offer TLS (also a ConnectionError)
    │   ├── SchemaBehindError         the schema is older than this version needs
    │   ├── UnknownCurrencyError      amounts of a currency cannot be written in major units
    │   ├── UnwritableFileError       a file cannot be written
    │   └── UnreadableFileError       a file does not begin like one of accounts
    │       └── HeaderError               its first line does not name the columns
    ├── UnavailableError          answered 503: the same request may succeed later
    │   ├── StorageError              a transaction failed for a transient reason (also an OperatorError)
    │   ├── OverloadedError           the queue takes no more
    │   ├── LedgerDamagedError        damage was found in the ledger, and the settings say that it stops
    │   ├── KeysMissingError          no key of the issuer of tokens is known yet
    │   ├── FileUnfinishedError       a file took longer than it may (one that has begun is cut)
    │   └── NoSlotError               no slot for expensive work (answered 429 where it is the client's own work)
    ├── UnauthenticatedError      answered 401
    ├── RateLimitedError          answered 429
    ├── BatchFailedError          answered 500: a fault of ours
    ├── LogDamagedError           answered 500: a ledger's history is not what was sealed
    ├── StatementUnsoundError     answered 500: a statement does not add up
    ├── AmountTooLargeError       answered 400: a format takes no amount as large
    ├── TrialBalanceUnsoundError  answered 500: debits and credits of a ledger differ
    ├── ProblemError              answered with the problem that it names
    ├── SignInNeededError         the console answers it with the page that asks for a token
    ├── ApiRefusedError           the console answers it with a page that tells the problem
    ├── NotReadyError             answered by /health/ready, as the reason of one check
    ├── NotConnectedError         never reaches a caller: it is transient, and ends as a StorageError
    ├── UnexpectedRowCountError   never reaches a caller: the batch is written group by group
    ├── TableInUseError           never reaches a caller: the migration is begun again
    ├── HoldsInTheWayError        never reaches a caller: the batch is decided again
    ├── WitnessError              never reaches a caller: logged, and the witness is asked again
    ├── KeySetError               never reaches a caller: logged, and the issuer's keys are read again
    ├── RecordTooLongError        never reaches a caller: told in the place of the record
    └── EntryError                never reaches a caller: told in the place of the record

Where a class is raised without a message, the first sentence of its docstring is the message. What PostgreSQL and its
driver raise is classified in ``storage/errors.py``. The HTTP server, which knows nothing of what it serves, has its own
tree in ``server/errors.py``; so have proofs, which are verified without a service, in ``proofs/errors.py``; and what
clients can share has its one exception in ``wire/errors.py``.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

Certainty = Literal["not_applied", "unknown"]
"""What is certain of a request that failed: nothing of it was applied, or it may have been."""


class FundsError(Exception):
    """Something failed in the service."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).partition(".")[0])


# What an operator can set right.


class OperatorError(FundsError):
    """Something is wrong that the operator can set right; the message is one sentence that says what."""


class SettingsError(OperatorError, ValueError):
    """A ``FUNDS_*`` variable is unknown or holds a value that cannot be used."""


class EmbeddedPostgresError(OperatorError):
    """The embedded PostgreSQL cannot do what was asked."""


class DatabaseUnusableError(OperatorError):
    """The database cannot be used; the message names no password."""


class DatabaseAwayError(DatabaseUnusableError):
    """The database does not answer now, which may pass."""


class NoServerError(DatabaseAwayError, ConnectionError):
    """None of the servers at ``places`` is what the database URL asks for and answers; ``reasons`` says why of each."""

    def __init__(self, places: str, reasons: str) -> None:
        super().__init__(f"The database cannot be reached at {places} ({reasons}).")


class TlsRefusedError(DatabaseUnusableError, ConnectionError):
    """The server at ``place`` does not offer the TLS that it must."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The database at {place} does not agree to TLS, and what is not on this machine is not spoken to in plain"
            " text: turn TLS on there (ssl = on), or allow plain text with ?sslmode=disable in the URL."
        )


class SchemaBehindError(OperatorError):
    """The database's schema is at ``revision``, older than this version of the service needs."""

    def __init__(self, revision: str, needed: str) -> None:
        super().__init__(f"The database schema is at {revision}, this version needs {needed}: run `funds migrate`.")
        self.revision = revision


class UnknownCurrencyError(OperatorError):
    """ISO 4217 has no such currency, or gives it no minor unit: how its amounts are written is not known."""

    def __init__(self, currency: str) -> None:
        super().__init__(
            f"{currency} is not a currency of ISO 4217 with a minor unit, as this version knows them: how its amounts"
            " are written in major units is not known."
        )


class UnwritableFileError(OperatorError):
    """A file cannot be written; the message says which and why."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}.")


class UnreadableFileError(OperatorError):
    """A file does not begin like one of accounts; the message says in a sentence what it is and what to do."""


class HeaderError(UnreadableFileError):
    """The first line of a CSV file does not name the columns of accounts."""


# What is answered 503.


class UnavailableError(FundsError):
    """The service cannot do this now, and may be able to later."""


class Failure(StrEnum):
    """What a failed transaction means for the caller; both kinds are transient and may be tried again."""

    CONTENTION = "contention"
    UNAVAILABLE = "database_unavailable"


class StorageError(UnavailableError, OperatorError):
    """A transaction failed for a transient reason and every try allowed for it is used up.

    ``in_doubt`` is True when a COMMIT was sent and its answer never came: the work may have been done.
    """

    def __init__(self, failure: Failure, *, in_doubt: bool = False) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.in_doubt = in_doubt


class OverloadedError(UnavailableError):
    """The queue cannot take this now; certainly nothing of it was or will be applied."""


class LedgerDamagedError(UnavailableError):
    """Verification found damage in the ledger, and nothing is written to it until it is found sound."""


class KeysMissingError(UnavailableError):
    """No key of the issuer of tokens is known yet. Its tokens can be neither taken nor refused."""


class FileUnfinishedError(UnavailableError):
    """A file took longer than the ``seconds_max`` that it may take."""

    def __init__(self, seconds_max: float) -> None:
        super().__init__(f"a file was not finished within {seconds_max:g} seconds")


class NoSlotError(UnavailableError):
    """All slots for a kind of work are taken, and as many callers wait as may; certainly nothing was done.

    ``own_share`` says that the client's own work takes all that one client may have.
    """

    def __init__(self, reason: str, *, own_share: bool) -> None:
        super().__init__(reason)
        self.own_share = own_share


# What is answered otherwise.


class UnauthenticatedError(FundsError):
    """A request comes with no token that is valid."""


class RateLimitedError(FundsError):
    """A client asks for too much; the message says of what. ``per_second`` is how many requests a second it may send,
    None when it has too many at a time.
    """

    def __init__(self, message: str, *, per_second: int | None = None) -> None:
        super().__init__(message)
        self.per_second = per_second


class BatchFailedError(FundsError):
    """A batch failed through a fault of ours; ``in_doubt`` when its COMMIT had been sent."""

    def __init__(self, *, in_doubt: bool) -> None:
        super().__init__("a batch failed")
        self.in_doubt = in_doubt


class LogDamagedError(FundsError):
    """What is stored of a ledger's history is not what was sealed in its log; the message says where."""


class StatementUnsoundError(FundsError):
    """The lines of a statement do not lead from its opening balance to its closing one; the message says where."""


class AmountTooLargeError(FundsError):
    """An amount has more digits than a format takes; the message says which."""


class TrialBalanceUnsoundError(FundsError):
    """The accounts of a ledger come to other debits than credits; the message says in which currency, and when."""


class Explains(Protocol):
    """The reason of a problem: its code, and the members that explain it."""

    code: ClassVar[str]

    def members(self) -> dict[str, Any]:
        """Return the members by name."""


class ProblemError(FundsError):
    """Raised where a request must be answered with the problem of ``reason``; ``detail`` says it in a sentence (None:
    in the words of the catalogue).
    """

    def __init__(
        self,
        reason: Explains,
        detail: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        outcome: Certainty = "not_applied",
    ) -> None:
        super().__init__(reason.code)
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        self.outcome = outcome


class SignInNeededError(FundsError):
    """Nobody is signed in, or not any more."""


class ApiRefusedError(FundsError):
    """The API answered a call of the console with a problem, which has these members."""

    def __init__(self, *, status: int, code: str, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.title, self.detail = status, code, title, detail


class NotReadyError(FundsError):
    """A part is not ready; the message is a reason that names no host, user or version."""


# What never reaches a caller.


class NotConnectedError(FundsError):
    """The server refused a new connection; the cause says why. Nothing was sent, and whoever made it refuse can undo
    that: it is right to try again, whatever the SQLSTATE (of a database that takes no connections: of a wrong state).
    """


class UnexpectedRowCountError(FundsError):
    """An UPDATE of locked rows changed more or fewer of them than ``expected``: they are not as they were loaded."""

    def __init__(self, *, expected: int, status: str) -> None:
        super().__init__(f"{expected} locked rows to write, the database says {status}")


class TableInUseError(FundsError):
    """A table that a migration changes is in use; nothing was changed since the last migration that was complete."""


class HoldsInTheWayError(FundsError):
    """Expired holds reserve some of what was missing; the transaction must be taken back."""

    def __init__(self, hold_ids: Sequence[UUID]) -> None:
        super().__init__()
        self.hold_ids = hold_ids


class WitnessError(FundsError):
    """A witness cannot be asked: it is away, or answers what no witness answers; the message says which."""


class KeySetError(FundsError):
    """The keys of the issuer of tokens cannot be read, or are no key set; the message says which."""


class RecordTooLongError(FundsError):
    """A record has more bytes than a request to the API may have."""


class EntryError(FundsError):
    """An entry of a file cannot become transfers; the message says why, and what is missing."""
