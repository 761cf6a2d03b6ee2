"""``funds log-key``, and the key that the embedded installation makes at its first start."""

import os

import click

from service.audit.log_signer import LogSigner
from service.cli.names import ledger_names
from service.cli.secret_files import log_key_path, write_secret
from service.cli.urls import say
from service.errors import SettingsError
from service.proofs.errors import UnusableKeyError
from service.proofs.keys import SignerKey
from service.settings import PREFIX, Settings


@click.command("log-key")
@click.option(
    "--verifier",
    "ledgers",
    metavar="LEDGER",
    multiple=True,
    callback=ledger_names,
    help="Print the verifier key of this ledger's log instead; repeat for more.",
)
def log_key(ledgers: tuple[str, ...]) -> None:
    """Make a key that signs the logs of ledgers (FUNDS_LOG_KEY) and print it, or print what verifies them.

    The new key goes to standard output and is kept nowhere: `umask 077; funds log-key > log.key`.
    """
    settings = Settings.from_environment()
    if ledgers:
        signer = _configured(settings)
        for ledger in ledgers:
            click.echo(str(signer.verifier_key(ledger)))
        return
    key = SignerKey.generate(settings.log_origin)
    click.echo(key.secret_text())
    say(f"Its verifier key is {key.verifier_key}")
    say("Each ledger's log is signed under a name of its own: funds log-key --verifier LEDGER")


def hand_to_workers(settings: Settings) -> None:
    """Set the key that signs the logs of ledgers, where none is set and the database is the embedded one: it is made at
    the first start, and stays beside the data. Raises SettingsError.
    """
    if settings.log_key is not None or settings.database_url is not None:
        return
    path = log_key_path(settings)
    if not path.exists():
        write_secret(path, SignerKey.generate(settings.log_origin).secret_text())
    _kept_beside_the_data(settings)
    os.environ[f"{PREFIX}LOG_KEY_FILE"] = str(path)


def _configured(settings: Settings) -> LogSigner:
    signer = LogSigner.of(settings)
    if signer is not None:
        return signer
    if settings.database_url is None and log_key_path(settings).exists():
        return _kept_beside_the_data(settings)
    raise click.ClickException(f"There is no key yet: make one with `funds log-key`, and set {PREFIX}LOG_KEY_FILE.")


def _kept_beside_the_data(settings: Settings) -> LogSigner:
    path = log_key_path(settings)
    try:
        return LogSigner(path.read_text().strip(), settings.log_origin)
    except (OSError, UnicodeDecodeError, UnusableKeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"The log key in {path} cannot be used: {reason}") from None
