"""The storage of group commit: what a batch loads and locks, and how what it decided is written."""
