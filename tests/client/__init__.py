"""The client, against real services and real faults."""
