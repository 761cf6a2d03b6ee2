"""Messages of msgspec in another shape than the one that is read: what must be there is said all the same, and nothing
of the message is.
"""

import msgspec
import pytest
from msgspec import Struct

from service.wire import faults

TEXT = "text-of-the-caller"


class Item(Struct):
    amount: int


class Request(Struct):
    items: list[Item]


@pytest.mark.parametrize(
    "message",
    [
        "",
        TEXT,
        f"$.items[0].amount: {TEXT} is not an int",
        f"Object contains unknown field '{TEXT}' (at $.items[0])",
        f"Object lacks the required field {TEXT}",
        f"Expected `int`, got `{TEXT}` - at `/items/0/amount`",
        f"Expected `int`, got `{TEXT}` - at `$.{TEXT}`",
        f"Expected `int`, got `{TEXT}` - at `$['items']",
        " - at `",
    ],
)
def test_a_message_about_a_value(message: str) -> None:
    fault = faults.of_content(msgspec.ValidationError(message), Request)
    assert fault.pointer == ""
    assert fault.reason.startswith("this must be ")
    assert TEXT not in str(fault)


@pytest.mark.parametrize("message", ["", TEXT, f"JSON is malformed: {TEXT} (byte x)", f"({TEXT} 17)"])
def test_a_message_about_the_syntax(message: str) -> None:
    fault = faults.of_json(b"{", msgspec.DecodeError(message))
    assert fault.reason.startswith("not valid JSON: a character has no place there; send one JSON object")
    assert TEXT not in str(fault)
