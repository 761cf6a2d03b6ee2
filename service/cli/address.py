"""The service's URL and an admin token, as commands print them for the user to try."""

import shlex

from service.cli.secret_files import admin_token_path
from service.settings import PREFIX, Settings, given_by_file


def service_url(settings: Settings) -> str:
    """Return the URL of the service on this machine, with the prefix of its paths."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - not bound here
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{settings.port}{settings.served_prefix}"


def admin_token_expression(settings: Settings) -> str | None:
    """Return the shell expression that gives an admin token; None when only ``funds tokens create`` gives one."""
    if settings.admin_token is not None:
        by_file = given_by_file("admin_token")
        return f'$(cat "${PREFIX}ADMIN_TOKEN_FILE")' if by_file else f"${PREFIX}ADMIN_TOKEN"
    if settings.database_url is not None:
        return None
    return f"$(cat {shlex.quote(str(admin_token_path(settings)))})"
