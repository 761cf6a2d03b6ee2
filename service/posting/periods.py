"""Closing the period of a ledger, in a transaction of its own that holds the ledger's head."""

from service.domain.decisions import Answer, Key
from service.domain.history import period_closed
from service.domain.order import Moment
from service.domain.periods import Closing, ClosingTerms, decide_closing
from service.domain.rejections import Rejection
from service.posting.heads import new_identifier
from service.posting.once import decided_once, has_written, insert_with_decision
from service.settings import Settings
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions


async def close_period(
    transactions: Transactions, settings: Settings, key: Key, asked: ClosingTerms
) -> Answer[Closing | Rejection]:
    """Close the ledger up to the value date that is ``asked`` for, or open it again as far as that.

    Whatever is posted before is in the order before it, and whatever comes after finds it with the head. Rejected in
    the order of ``rules.CLOSING_RULES``. Raises StorageError.
    """

    async def work(session: Session) -> Answer[Closing | Rejection]:
        repositories = Repositories(session)

        async def decide(moment: Moment) -> Closing | Rejection:
            async def insert(closing: Closing) -> Closing:
                await repositories.history.add([period_closed(key, closing, moment.period)])
                await repositories.heads.close(key.ledger_id, closing.period)
                return closing

            new_id = new_identifier(moment.place)
            built = decide_closing(asked, moment, new_id=new_id, client_id=key.client_id)
            return await insert_with_decision(session, key, moment, built, insert, {})

        return await decided_once(session, settings.policy, key, Closing, decide)

    return await transactions.run(work, writes=has_written)
