"""Run long tasks and stream everything that happens to them."""
