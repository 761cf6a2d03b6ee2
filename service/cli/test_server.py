"""``funds test-server``: a service for tests of its callers, where the distribution ``funds-testing`` is installed.

What makes faults and moves time is no part of the service: here is only how it is started.
"""

import os

import click

_MISSING = "The test server is a package of its own: install it with `pip install funds-testing`."
_DATABASE_VARIABLE = "FUNDS_TESTING_DATABASE_URL"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address; no other is served.")
@click.option("--port", default=0, help="Of the service. Default: any that is free.")
@click.option("--control-port", default=0, help="Of what controls faults and time. Default: any that is free.")
@click.option("--stop-with-stdin", is_flag=True, help="End when standard input does, and so with what started it.")
def test_server(host: str, port: int, control_port: int, *, stop_with_stdin: bool) -> None:
    """Serve callers that are being tested, on a database of its own, until Ctrl-C.

    When it serves, it prints one line of JSON: url, token and ledger, the admin's token, and control_url, where faults
    and the time of holds are controlled. Nothing is left of it in the end.

    The database is an embedded PostgreSQL, or with FUNDS_TESTING_DATABASE_URL (a superuser's) a new one on that server.
    No other FUNDS_* variable counts.
    """
    try:
        from funds_testing.server.serving import Options, run  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != "funds_testing":
            raise
        raise click.ClickException(_MISSING) from None
    run(
        Options(
            host=host,
            port=port,
            control_port=control_port,
            database_url=os.environ.get(_DATABASE_VARIABLE) or None,
            stop_with_stdin=stop_with_stdin,
        )
    )
