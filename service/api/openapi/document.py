"""The OpenAPI document as it is served: made when it is first asked for, once, and beside the event loop."""

import asyncio
from typing import Any, cast

from litestar import Litestar
from litestar.serialization import encode_json

from service.api.openapi.description import complete


class Document:
    """The document of ``app``.

    It takes half a second of the CPU to make: no request may hold the loop for that long, and few processes are asked.
    """

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._making = asyncio.Lock()
        self._text: bytes | None = None

    async def text(self) -> bytes:
        """Return the document as JSON, made in a thread."""
        async with self._making:
            return await asyncio.to_thread(self.make) if self._text is None else self._text

    def make(self) -> bytes:
        """Return the document as JSON, made here."""
        if self._text is not None:
            return self._text
        complete(self._app)
        plugin = cast("Any", self._app.plugins.get("OpenAPIPlugin"))
        schema = plugin.provide_openapi_schema()  # which Litestar keeps for the page
        # They were collected in sets, whose order is another one in each process.
        schema["components"]["schemas"] = dict(sorted(schema["components"]["schemas"].items()))
        self._text = text = encode_json(schema)
        return text
