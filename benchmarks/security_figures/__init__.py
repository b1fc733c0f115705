"""The figures of security, one module each, in the order in which they run."""

from benchmarks.security_figures import wrong_tokens

FIGURES = [*wrong_tokens.FIGURES]
