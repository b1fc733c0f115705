"""The door: who is calling, from where, and whether they may come in.

Rules of this file:

- Without credentials the server answers on loopback only, and only to what is no page of somebody else.
- Whoever comes too often waits: a refusal that is sent at once would only be asked for again at once. It costs us a
  timer, and them a connection; who gives that up has no place among those that wait.
- Every refusal is told to the security log, and every limit that is hit, wherever it is.

Owns:   the order of the checks in front of every route; what an answer says of rates.
Uses:   access.gate (credentials), web.rates (how often), web.loopback (what is local), observe.security (who is told).
Never:  knows a route, or looks at a task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from urllib.parse import parse_qsl

import asgineer

from streaming.access.gate import Gate, Presented
from streaming.access.proxy import KIND as PROXY
from streaming.access.proxy import UNIX, bucket
from streaming.config import Settings
from streaming.engine.limits import LimitName, LimitsHit
from streaming.errors import Forbidden, RateLimited, StoreUnavailable, Unauthenticated
from streaming.observe.security import tell
from streaming.rules.access import Credential, Scope
from streaming.values import read_rate
from streaming.web.loopback import require_loopback, require_own_name, require_own_origin, require_same_origin
from streaming.web.presence import sleep_while_present
from streaming.web.query import STREAM_TOKEN
from streaming.web.rates import Rate
from streaming.web.request import NOBODY, Request
from streaming.web.transport import abort, peer_address

#: What holds where no setting says otherwise: of an address, but for a server that answers this machine only; of a
#: principal, but for the anonymous one.
ADDRESS_RATE, PRINCIPAL_RATE, FAILURE_RATE = (500, 1), (100, 1), (10, 1)

#: So many seconds the refusal of whoever comes too often is held back, and that of a wrong credential; up to twice as
#: long, where many are.
HELD_S, WRONG_HELD_S = 1.0, 5.0

#: Those that are held back go out one by one, so far apart: at once they would bring all their senders back at once.
PACE_S = 0.005

#: So many refusals are held back for one address at the same time; whoever has more open is cut off.
HELD_MAX = 1000

#: Methods that change nothing (RFC 9110, 9.2.1).
SAFE = ("GET", "HEAD", "OPTIONS")


#: Who calls, by name, and from where. It is no more than that, since what is started meanwhile keeps it to its end.
_CALLER: ContextVar[tuple[str | None, str | None]] = ContextVar("streaming_caller", default=(None, None))


def tell_limit(name: LimitName, owner: str | None) -> None:
    """Write a line to the security log about a limit that was hit.

    Args:
        name: of the limit.
        owner: whose task has hit it; None for whoever is asking.
    """
    principal, address = _CALLER.get() if owner is None else (owner, None)
    source = None if address is None else bucket(address)
    tell("limit_hit", principal=principal, address=address, source=source, limit=name)


class Door:
    """What stands in front of the routes of one server.

    Args:
        settings: the rates, and whether everybody may come.
        gate: knows credentials.
        limits_hit: where limits are counted.
        clock: seconds; it never goes back.
        wall: seconds since 1970.

    Attributes:
        refused: how many credentials were not good, by what was wrong with them: a word of ours.
    """

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        limits_hit: LimitsHit,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.gate = gate
        self.refused: Counter[str] = Counter()
        self._settings = settings
        self._limits_hit = limits_hit
        self._wall = wall
        self._held: Counter[str] = Counter()
        self._due = {HELD_S: 0.0, WRONG_HELD_S: 0.0}  # when the last one goes out, of each kind
        self._failures = _rate(settings.rate_limit_failures, FAILURE_RATE, clock)
        self._of_address = _rate(settings.rate_limit_address, ADDRESS_RATE, clock)
        self._of_principal = _rate(settings.rate_limit, PRINCIPAL_RATE, clock)

    # -- who -----------------------------------------------------------------------------------------------------------

    async def admit(self, request: Request) -> None:
        """Find out who is calling, and let them in; then ``request.credential`` says who it is.

        Raises:
            Forbidden: it comes from where nobody may, or from a page of somebody else.
            RateLimited: it comes too often.
            Unauthenticated: nobody may come without a credential, or with this one.
            StoreUnavailable: nobody can tell whether the credential is good.
        """
        self.admit_anybody(request)
        await self._ask_address(request)
        try:
            request.credential = await self.gate.identify(_presented(request))
        except Unauthenticated as failure:
            await self._fail(request, failure)
            raise
        _CALLER.set((request.credential.principal.name, request.address))
        if request.credential.principal.anonymous and not self._settings.insecure_public:
            self._require_local(request)  # whether anybody is asked may have been unknown before
        await self._ask_principal(request)
        if request.method not in SAFE:
            self.require_own_page(request)

    def admit_anybody(self, request: Request) -> None:
        """Let in whoever may reach this server at all, without a question.

        Raises:
            Forbidden: it comes from where nobody may, or from a page of somebody else.
        """
        request.address = self.gate.proxies.client_address(_peer(request), request.headers("x-forwarded-for"))
        _CALLER.set((None, request.address))
        if self.local_only:
            self._require_local(request)

    async def recognize(self, request: Request) -> bool:
        """Find out who is calling where nobody is asked, if they say so.

        A wrong credential is told of and held back as anywhere, and is then like none.

        Returns:
            Whether ``request.credential`` says who it is.

        Raises:
            Forbidden: it comes from where nobody may, or from a page of somebody else.
        """
        try:
            request.credential = await self.gate.identify(_presented(request))
        except StoreUnavailable:
            return False
        except Unauthenticated as failure:
            if failure.reason != "nothing":
                await self._fail(request, failure)
            return False
        if request.credential.principal.anonymous and not self._settings.insecure_public:
            self._require_local(request)  # as in `admit`
        return True

    @property
    def local_only(self) -> bool:
        """Whether nobody is asked who they are, and so only this machine may come."""
        return not (self.gate.configured or self._settings.insecure_public)

    def require(self, request: Request, scope: Scope | None, *, task_id: str | None, logs: bool) -> None:
        """Refuse what the credential of a request is not good for.

        Args:
            request: has been admitted.
            scope: what the route needs; None needs nothing.
            task_id: of the route.
            logs: whether the route shows the log of a task, and nothing else.

        Raises:
            Forbidden: it is not.
        """
        credential = request.credential
        if credential.task_id is not None and (not logs or credential.task_id != task_id):
            raise Forbidden("A stream token opens the events of its own task, and nothing else.")
        if scope is not None:
            self.require_scope(request, scope)
        if request.method not in SAFE:
            self.tell_admin(request, task_id=task_id)

    async def require_still_good(self, request: Request) -> None:
        """Refuse to tell what a request has waited for, once its credential is over.

        Raises:
            Unauthenticated: it is.
        """
        await self.gate.renew()
        if not self.gate.still_good(request.credential, self._wall()):
            failure = Unauthenticated("The credential is over.", reason="over_meanwhile")
            self._tell_failure(request, failure)
            raise failure

    def tell_admin(self, request: Request, *, task_id: str | None = None) -> None:
        """Write down that an admin changes something, however often."""
        principal = request.credential.principal
        if principal.admin and not principal.anonymous:
            self.tell("admin_act", request, task_id=task_id, failed=False, always=True)

    def require_scope(self, request: Request, scope: Scope) -> None:
        """Refuse what needs a scope that the credential of a request does not have.

        Raises:
            Forbidden: it does not.
        """
        credential = request.credential
        if not credential.principal.may(scope):
            raise Forbidden(f"This needs the scope {scope}; the credential has {_listed(credential)}.")

    def tell(
        self,
        act: str,
        request: Request,
        *,
        task_id: str | None = None,
        failed: bool = True,
        always: bool = False,
        **details: str,
    ) -> None:
        """Write a line to the security log about a request."""
        credential = request.credential
        tell(
            act,
            principal=None if credential is NOBODY else credential.principal.name,
            address=request.address,
            task_id=task_id,
            failed=failed,
            always=always,
            source=bucket(request.address),
            by=None if credential is NOBODY else credential.id,
            method=request.method,
            path=request.path,
            **details,
        )

    def _require_local(self, request: Request) -> None:
        require_loopback(request.server)
        if request.server is not None and request.server[1] is None:
            return  # no page gets at a unix socket
        if (origin := request.header("origin")) not in self._settings.cors_origins:
            require_own_origin(request.method, origin, request.header("sec-fetch-site"))
        if (host := request.header("host")) is not None:  # every browser names one
            require_own_name(host)

    def require_own_page(self, request: Request) -> None:
        """Refuse a change that a page of another site asks for.

        A proxy may know a browser by a cookie, which pages of others make it send as well (CSRF).

        Raises:
            Forbidden: it does.
        """
        if request.credential.id.startswith(PROXY):
            require_same_origin(
                request.header("origin"),
                request.header("host"),
                request.header("sec-fetch-site"),
                self._settings.cors_origins,
            )

    # -- how often -----------------------------------------------------------------------------------------------------

    async def _ask_address(self, request: Request) -> None:
        if self.local_only and not self._settings.rate_limit_address:
            return
        allowance = self._of_address.ask(bucket(request.address))
        if not allowance.granted:
            request.answer_headers.update(allowance.headers("address"))
            await self._hold_back(request)
            raise RateLimited(
                f"This address has sent {allowance.limit} requests in {allowance.window_s} s; no more are possible.",
                retry_after_s=max(0.0, allowance.wait_s - HELD_S),
            )

    async def _ask_principal(self, request: Request) -> None:
        principal = request.credential.principal
        if principal.anonymous and not self._settings.rate_limit:
            return
        allowance = self._of_principal.ask(principal.owner)
        request.answer_headers.update(allowance.headers("principal"))
        if not allowance.granted:
            await self._hold_back(request)
            raise RateLimited(
                f"{principal.name!r} has sent {allowance.limit} requests in {allowance.window_s} s; no more are "
                "possible.",
                retry_after_s=max(0.0, allowance.wait_s - HELD_S),
            )

    async def _fail(self, request: Request, failure: Unauthenticated) -> None:
        """Tell of a wrong credential, and hold the answer back where too many have come.

        Raises:
            DisconnectedError: it gets no answer; see `_hold_back`.
        """
        self._tell_failure(request, failure)
        if not self._failures.ask(bucket(request.address)).granted:
            await self._hold_back(request, WRONG_HELD_S)

    def _tell_failure(self, request: Request, failure: Unauthenticated) -> None:
        self.refused[failure.reason or "other"] += 1
        self._limits_hit.count("authentication_failed")
        self.tell("authentication_failed", request, reason=failure.reason)

    async def _hold_back(self, request: Request, seconds: float = HELD_S) -> None:
        """Wait before a refusal.

        Raises:
            DisconnectedError: too many refusals are held back for this address: it gets none; or its client has left.
        """
        self._limits_hit.hit("held_back")
        where = bucket(request.address)
        if self._held[where] >= HELD_MAX:
            abort(request.send)
            raise asgineer.DisconnectedError
        self._held[where] += 1
        try:
            now = asyncio.get_running_loop().time()
            due = min(max(self._due[seconds] + PACE_S, now + seconds), now + 2 * seconds)
            self._due[seconds] = due
            await sleep_while_present(request, due)
        finally:
            self._held[where] -= 1
            if not self._held[where]:
                del self._held[where]


def _rate(notation: str | None, default: tuple[int, int], clock: Callable[[], float]) -> Rate:
    return Rate(*(default if notation is None else read_rate(notation)), clock)


def _presented(request: Request) -> Presented:
    """What a request carries of credentials."""
    tokens: list[str] = []
    if STREAM_TOKEN.encode() in request.query_string:
        tokens = [value for name, value in parse_qsl(request.query_string.decode("latin-1")) if name == STREAM_TOKEN]
        if len(tokens) > 1:
            raise Unauthenticated("A request shows one credential, and this one has more.", reason="more_than_one")
    return Presented(
        authorization=request.headers("authorization"),
        api_key=request.headers("x-api-key"),
        stream_token=tokens[0] if tokens else None,
        peer=_peer(request),
        header=request.headers,
    )


def _peer(request: Request) -> str | None:
    """The other end of the connection; what the server calls the client may be what a header says."""
    if request.server is not None and request.server[1] is None:
        return UNIX
    return peer_address(request.send) or (None if request.client is None else request.client[0])


def _listed(credential: Credential) -> str:
    return ", ".join(sorted(credential.principal.scopes)) or "none"
