"""The figures of the proofs, one module each."""

from benchmarks.proof_figures import diary, schedules, sweep

FIGURES = [*schedules.FIGURES, sweep.FIGURE, *diary.FIGURES]
