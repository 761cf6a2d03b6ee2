"""Runs ``funds`` commands without loading the program for each: every command is a process of its own, which is forked
from one that has loaded it. Loading takes half a second, and seconds on a slow machine.
"""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import click

from service.cli import main


class _Command(NamedTuple):
    """What a process is to run, and where its output goes."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path


class Prestarted:
    """The process that has loaded the program, started in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], seconds_max: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises TimeoutExpired."""
        with tempfile.TemporaryDirectory() as directory:
            stdout, stderr = Path(directory, "stdout"), Path(directory, "stderr")
            self._connection.send(_Command(arguments, environment, stdout, stderr))
            process_id: int = self._connection.recv()
            in_time = self._connection.poll(seconds_max)
            if not in_time:
                os.kill(process_id, signal.SIGKILL)
            exit_code: int = self._connection.recv()
            if not in_time:
                raise subprocess.TimeoutExpired(arguments, seconds_max, stdout.read_bytes(), stderr.read_bytes())
            return subprocess.CompletedProcess(arguments, exit_code, stdout.read_text(), stderr.read_text())


@cache
def prestarted(directory: Path) -> Prestarted:
    """Return the process that runs commands in ``directory``, the same one for the whole run."""
    return Prestarted(directory)


def _fork_commands(connection: Connection) -> None:
    """Fork a process for each command that comes, and return in it; end when no more can come."""
    while True:
        try:
            command: _Command = connection.recv()
        except EOFError:
            sys.exit()
        process_id = os.fork()
        if not process_id:
            connection.close()
            _become(command)
            return
        connection.send(process_id)
        _, status = os.waitpid(process_id, 0)
        connection.send(os.waitstatus_to_exitcode(status))


def _become(command: _Command) -> None:
    sys.argv = ["funds", *command.arguments]
    os.environ.clear()
    os.environ.update(command.environment)
    for path, number in ((command.stdout, 1), (command.stderr, 2)):
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, number)
        os.close(output)


if __name__ == "__main__":
    context = click.Context(main)
    for name in main.list_commands(context):
        main.get_command(context, name)  # loads what it needs
    _fork_commands(Connection(int(sys.argv[1])))
    main()
