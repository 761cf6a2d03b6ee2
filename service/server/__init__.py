"""The HTTP/1.1 server: connections with their limits and time-outs, in front of any ASGI application."""
