"""Litestar resolves dependencies that do not depend on each other in a task group, which costs more than the rest of a
request: here each depends on the one before it.
"""

from litestar.routes import HTTPRoute

from tests.support.application import Application


def test_the_dependencies_of_every_handler_form_a_chain(application: Application) -> None:
    longest = 0
    for route in application.app.routes:
        assert isinstance(route, HTTPRoute)
        for handler, arguments in route.route_handler_map.values():
            assert all(len(batch) == 1 for batch in arguments.dependency_batches), handler
            longest = max(longest, len(arguments.dependency_batches))
    assert longest == 3
