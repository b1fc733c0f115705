"""What the answers of a server mean when it is asked from outside, through whatever lies in between.

Owns:   which answer is well, which is odd, and which shows that a server is open to everybody.
Never:  asks anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from streaming.rules.finding import Finding, Verdict

OK, WARNING, PROBLEM, UNREACHABLE = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNREACHABLE

#: What a proxy answers whose server does not.
_AWAY = (502, 503, 504)


def judge_silence(reason: str) -> Finding:
    """Nobody has answered."""
    return Finding(
        "server",
        UNREACHABLE,
        f"It cannot be reached: {reason}.",
        "Look whether it runs, whether the name leads to it, and what a firewall or a certificate says.",
    )


def judge_health(status: int, *, ours: bool) -> Finding:
    """Whether the server is there.

    Args:
        status: of ``/healthz``.
        ours: the body is one of ours.
    """
    if status == 200 and ours:
        return Finding("server", OK, "It is alive.")
    if status in _AWAY and not ours:
        return Finding(
            "server",
            UNREACHABLE,
            f"A proxy answers with {status}: it does not reach the server.",
            "Start the server, or name its address in the proxy.",
        )
    return Finding(
        "server",
        PROBLEM,
        f"Something else answers: /healthz has the status {status}.",
        "Look at the path of the URL, and at what the proxy sends on.",
    )


def judge_readiness(status: int, code: str, warnings: Sequence[str]) -> Finding:
    """Whether it accepts tasks.

    Args:
        status: of ``/readyz``.
        code: of the problem, if it is one.
        warnings: what it says of itself.
    """
    if status != 200:
        return Finding(
            "readiness",
            WARNING,
            f"It accepts no tasks at the moment: {code or status}.",
            "draining: it stops. store_unavailable: its log says what is wrong with the store.",
        )
    if warnings:
        return Finding(
            "readiness", WARNING, f"It accepts tasks, and says: {' '.join(warnings)}", "Do what it asks for."
        )
    return Finding("readiness", OK, "It accepts tasks.")


def judge_scheme(scheme: str, *, local: bool, token: bool) -> Finding:
    """Whether others can read what goes over the wire.

    Args:
        scheme: of the URL.
        local: it names this machine.
        token: a credential is sent.
    """
    if scheme == "https":
        return Finding("encryption", OK, "The way is encrypted.")
    if local:
        return Finding("encryption", OK, "The way does not leave this machine.")
    return Finding(
        "encryption",
        PROBLEM if token else WARNING,
        f"The way is not encrypted: whoever is on it reads events{' and the credential' if token else ''}.",
        "Let a proxy speak TLS, and name https:// here.",
    )


def judge_openness(status: int, *, local: bool) -> Finding:
    """Whether it lets anybody in.

    Args:
        status: of ``/types``, asked without a credential.
        local: the URL names this machine.
    """
    if status != 200:
        return Finding("door", OK, "Nobody gets in without a credential.")
    if local:
        return Finding("door", OK, "It asks for no credential; it is called by the name of this machine.")
    return Finding(
        "door",
        PROBLEM,
        "It lets anybody in: whoever reaches this URL may start and end everything.",
        "Make a key (streaming key create NAME), or let the proxy check who calls.",
    )


def judge_metrics(status: int, *, local: bool) -> Finding:
    """Whether its figures are for everybody.

    Args:
        status: of ``/metrics``, asked without a credential.
        local: the URL names this machine.
    """
    if status == 200 and not local:
        return Finding(
            "metrics",
            WARNING,
            "Everybody may read /metrics.",
            "Close it in the proxy: location /metrics { return 404; }",
        )
    return Finding("metrics", OK, "They are not open to everybody." if status != 200 else "They are there.")


def judge_refusal(status: int, code: str, *, token: bool) -> Finding:
    """A stream of beats was refused.

    Args:
        status: of the answer.
        code: of the problem, if it is one.
        token: a credential was sent.
    """
    if status == 426:
        return Finding(
            "stream",
            PROBLEM,
            "The proxy speaks HTTP/1.0 to the server, in which streams are refused.",
            'Let it speak HTTP/1.1 (nginx: proxy_http_version 1.1; proxy_set_header Connection "").',
        )
    if status in (401, 403):
        how = "The one that was sent is not good." if token else "None was sent."
        return Finding(
            "stream",
            PROBLEM,
            f"The server wants a credential. {how}",
            "Put one into STREAMING_TOKEN, or into a file that STREAMING_TOKEN_FILE names.",
        )
    if status in (429, 503):
        return Finding("stream", WARNING, f"It could not be measured: {code or status}.", "Try again later.")
    return Finding(
        "stream",
        PROBLEM,
        f"It could not be measured: /beats has the status {status}{f', {code}' if code else ''}.",
        "Look at what the proxy sends on, and at the version of the server.",
    )
