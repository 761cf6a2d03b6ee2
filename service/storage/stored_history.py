"""What an entry of the history says, as it stands in ``history.data``: canonical JSON, which never changes.

Members are sorted by name, at every depth; there is no white space; strings have JSON's short escapes and no others
than they need. ``service/docs/history.md`` documents it byte by byte: the ledger's log hashes these bytes.
"""

import msgspec

from service.domain.history import EntryData, RequestRejected
from service.storage.stored_rejections import stored_rejection

_encode = msgspec.json.Encoder(order="sorted").encode


def stored_data(data: EntryData) -> bytes:
    """Return what is stored of ``data``."""
    if isinstance(data, RequestRejected):
        problem = stored_rejection(data.rejection)
        return _encode({"operation": data.operation, "problem": problem, "terms": data.terms})
    return _encode(data)
