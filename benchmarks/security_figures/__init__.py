"""The figures of security, one module each, in the order in which they run."""

from benchmarks.security_figures import connections, deliveries, fuzz, starts, wrong_tokens

FIGURES = [figure for module in (starts, deliveries, wrong_tokens, connections, fuzz) for figure in module.FIGURES]
