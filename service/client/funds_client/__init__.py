"""Calls the funds transfer service so that no time-out, crash or retry moves money twice."""
