"""The exceptions of the HTTP server, which knows nothing of the service that it serves."""

from service.server.refusals import Refusal


class ServerError(Exception):
    """Something failed in the HTTP server itself."""


class ExchangeError(ServerError):
    """The application sent what HTTP does not allow."""


class RefusedError(ServerError):
    """A request is turned away before the application sees it; ``detail`` is the sentence that says why."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail
