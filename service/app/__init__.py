"""The composition root: makes the service's parts, starts them in order, stops them in reverse."""

from service.app.application import create_app
from service.app.parts import make_services
from service.app.serving import serve

__all__ = ["create_app", "make_services", "serve"]
