"""What the service reports about itself while it runs: logs."""
