"""What it costs to grow, more readers, more tasks, longer logs, larger events: ``python -m benchmarks.growth``."""
