"""The test kit for callers (``service/testing``), tested as callers use it."""
