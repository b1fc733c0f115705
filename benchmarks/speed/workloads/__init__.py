"""The workloads, in the order in which they run."""

from benchmarks.speed.workloads import idle, live, many, replay, saturation, single, starts

WORKLOADS = {
    workload.name: workload
    for workload in (
        live.WORKLOAD,
        single.WORKLOAD,
        saturation.WORKLOAD,
        idle.WORKLOAD,
        many.WORKLOAD,
        replay.WORKLOAD,
        starts.WORKLOAD,
        starts.SHORTS,
    )
}
