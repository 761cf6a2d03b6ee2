import pytest

from service.cli.address import service_url
from service.settings import Settings


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:8000"),
        (Settings(host="0.0.0.0", port=9000), "http://127.0.0.1:9000"),
        (Settings(host="::1"), "http://[::1]:8000"),
        (Settings(path_prefix="/funds"), "http://127.0.0.1:8000/funds"),
        (Settings(path_prefix="/funds", path_prefix_stripped=True), "http://127.0.0.1:8000"),
    ],
)
def test_where_this_machine_reaches_the_service(settings: Settings, url: str) -> None:
    assert service_url(settings) == url
