"""What is raised for a malformed request: where the fault lies, and why it is one."""

SHOWN_LENGTH_MAX = 64
"""How many characters of a caller's own text a message repeats."""


class MalformedError(Exception):
    """A request is not what its types take. ``pointer`` is a JSON pointer (RFC 6901) to the fault, into the body or
    under /query or /header; ``reason`` says what is wrong there and what to send.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer}: {reason}" if pointer else reason)
        self.pointer = pointer
        self.reason = reason


def shown(text: str) -> str:
    """Return a caller's text as a message repeats it: cut."""
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"


def pointer_to(*steps: str) -> str:
    """Return the JSON pointer (RFC 6901) that takes ``steps``, each cut as it is shown."""
    return "".join("/" + shown(step).replace("~", "~0").replace("/", "~1") for step in steps)
