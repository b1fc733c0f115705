"""What is measured of metrics: their share of a delivery, and the time of a scrape."""

from benchmarks.observe_figures import deliveries, scrape

FIGURES = [*deliveries.FIGURES, *scrape.FIGURES]
