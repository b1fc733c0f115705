"""What operators see: log lines."""
