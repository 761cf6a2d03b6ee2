"""What is raised about proofs: a tree of its own, because this package knows nothing of the service.

ProofsError               the base; its message is one sentence that says what is wrong
├── MalformedTextError        a text is not in its form
├── UnusableKeyError          a key is not in its form, or not of the kind that is needed
└── NotProvenError            everything is in its form, and does not prove what it should
"""


class ProofsError(Exception):
    """A text, a key or a proof is not what it should be."""


class MalformedTextError(ProofsError):
    """A note, checkpoint, receipt or proof is not in its form."""


class UnusableKeyError(ProofsError):
    """A key is not in its form, or not of the kind that is needed; the message never repeats it."""


class NotProvenError(ProofsError):
    """A proof is in its form and does not prove what it should."""
