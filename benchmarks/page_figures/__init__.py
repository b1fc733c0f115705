"""The figures of the page, one module each."""

from benchmarks.page_figures import frames, opening

#: In the order of one round.
FIGURES = [figure for module in (opening, frames) for figure in module.FIGURES]
