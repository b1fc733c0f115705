"""The figures of status tracking, one module each, in the order in which they run; each on both databases."""

from benchmarks.status_figures import batches, create, listing, memory, progress, size, update

#: In the order of one round: first what needs empty stores.
FIGURES = [figure for module in (create, update, progress, batches, listing, size) for figure in module.FIGURES]

#: Takes longer than all others together.
MEMORY = memory.FIGURES
