"""Wrong credentials, far more than anybody can check.

Owns:   what honest readers hear beside an attack, against what they hear without one, on the same server.
"""

from __future__ import annotations

import asyncio
from functools import partial

from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.security_figures import guarded, honest
from benchmarks.security_figures.besieged import attacked
from benchmarks.server import Server, usage_while

#: From how many addresses attackers come: one, or many, each of which has rates of its own.
SOURCES = {"one": 1, "many": 50}

#: Seconds of an attack before it counts: windows fill, connections are cut.
WARM_UP_S = 2.0


async def measure(scale: Scale, *, sources: int) -> Values:
    """Readers without an attack, and then with one, on one server."""
    async with (
        guarded.public_keys() as url,
        guarded.guarded(
            {
                "api_keys": guarded.api_keys(honest.NAME),
                "jwt_secret": guarded.SECRET,
                "jwt_jwks_url": url,
            }
        ) as server,
    ):
        await honest.listen(server.address, scale.honest, min(1.0, scale.duration_s))
        alone, alone_usage = await usage_while(server, _listen(server, scale))
        async with attacked(
            "attacker",
            port=server.address.port,
            rate=scale.wrong_rate,
            connections=scale.wrong_connections,
            sources=sources,
            kid=guarded.KID,
        ) as attacker:
            await asyncio.sleep(min(WARM_UP_S, scale.duration_s))
            beside, usage = await usage_while(server, _listen(server, scale))
    did = attacker.said
    answered = sum(did["statuses"].values())
    return {
        "ratio": beside.p99_ms / alone.p99_ms,
        "alone_ms": alone.p99_ms,
        "beside_ms": beside.p99_ms,
        "offered_s": did["offered"] / did["seconds"],
        "sent_s": did["sent"] / did["seconds"],
        "answered_s": answered / did["seconds"],
        "cut_s": did["cut"] / did["seconds"],
        "alone_cores": alone_usage.cpu_s / alone_usage.wall_s,
        "cores": usage.cpu_s / usage.wall_s,
        "attacker_cores": did["cpu_s"] / did["seconds"],
        "client_cores": usage.client_cpu_s / usage.wall_s,
        **beside.as_values(),
        **{f"alone_{name}": value for name, value in alone.as_values().items()},
    }


async def _listen(server: Server, scale: Scale) -> honest.Heard:
    return await honest.listen(server.address, scale.honest, scale.duration_s)


_METRICS = (
    Metric("ratio", "99 of 100 events read within, during the attack / without it", "x", Goal("<=", 2)),
    Metric("alone_ms", "without it", "ms"),
    Metric("beside_ms", "during the attack", "ms"),
    Metric("offered_s", "wrong credentials offered", "1/s"),
    Metric("sent_s", "of them sent: the others found no connection that took them", "1/s"),
    Metric("answered_s", "answered", "1/s"),
    Metric("cut_s", "connections that the server has cut, or not taken", "1/s"),
    Metric("alone_cores", "CPU of the server without an attack", "cores"),
    Metric("cores", "CPU of the server during the attack", "cores"),
    Metric("attacker_cores", "CPU of the attackers", "cores"),
    Metric("client_cores", "CPU of the honest readers during the attack", "cores"),
    *(Metric(metric.key, f"during the attack: {metric.title}", metric.unit) for metric in honest.METRICS),
    *(Metric(f"alone_{metric.key}", f"without it: {metric.title}", metric.unit) for metric in honest.METRICS),
)

FIGURES = [
    Figure(
        f"credentials-{name}",
        f"10,000 wrong credentials a second from {name} address{'es' if number > 1 else ''}, beside 100 honest readers",
        _METRICS,
        partial(measure, sources=number),
    )
    for name, number in SOURCES.items()
]
