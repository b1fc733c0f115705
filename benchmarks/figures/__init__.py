"""The figures, one module each, in the order in which they run."""

from benchmarks.figures import burst, client, fan_out, frozen, latency, many_tasks, sigterm, starts

FIGURES = {
    module.FIGURE.name: module.FIGURE
    for module in (client, burst, latency, fan_out, frozen, many_tasks, starts, sigterm)
}
