"""The admin token that the embedded installation makes at its first start."""

import asyncio

from service.access.principal import ADMIN_CLIENT, SCOPES
from service.access.tokens import ensure, make_token
from service.cli.secret_files import admin_token_path, write_secret
from service.settings import Settings
from service.storage.database import Database


def ensure_admin_token(settings: Settings, operator_url: str) -> None:
    """See to it that the database knows the token in the file beside the data, which is made if there is none."""
    path = admin_token_path(settings)
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        token = make_token()
        write_secret(path, token)
    asyncio.run(_ensure(settings, operator_url, token))


async def _ensure(settings: Settings, operator_url: str, token: str) -> None:
    database = Database.connect(operator_url, settings)
    try:
        async with database.sessions() as session, session.begin():
            await ensure(session, token, client=ADMIN_CLIENT, scopes=SCOPES)
    finally:
        await database.close()
