"""How quick the product is beside others that do the same: ``python -m benchmarks``."""
