"""nginx with Nchan: a server in C, which fans out what is published to it.

Owns:   its configuration, and the publisher: nothing emits inside of nginx, so that this process publishes.
Never:  installs it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import resource
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks.calls import Address, with_body
from benchmarks.contenders.contender import Contender, Job, Stage
from benchmarks.server import Server

#: Publications that have no answer yet, at most: the server is never without one, and none can overtake another.
WINDOW = 8
STOP_S = 10.0

_MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/share/nginx/modules"))
_MODULE = "ngx_nchan_module.so"

_CONFIGURATION = """\
load_module {module};
user {user};
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid nginx.pid;
error_log nginx.log error;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  nchan_shared_memory_size 512M;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /readyz {{ return 200; }}
    location = /stream {{ nchan_subscriber eventsource; nchan_channel_id $arg_channel; }}
    location = /publish {{
      nchan_publisher; nchan_channel_id $arg_channel;
      nchan_message_buffer_length 100000; nchan_message_timeout 10m;
    }}
  }}
}}
"""

_SCRIPT = """
printf '%s' "$2" > nginx.conf
(until [ -s nginx.pid ]; do sleep 0.02; done; echo "http://127.0.0.1:$0") &
exec "$1" -p "$PWD" -c "$PWD/nginx.conf" -e stderr
"""


class NchanStage(Stage):
    """Its channels are there as soon as somebody asks for them."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._emitted: defaultdict[str, int] = defaultdict(int)
        self._publishing: set[asyncio.Task[None]] = set()

    async def emit(self, names: Sequence[str], job: Job) -> None:
        for name in names:
            publisher = await _connect(self.address)
            task = asyncio.create_task(self._publish(publisher, name, job))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def prepare_log(self, events: int) -> bytes:
        raise NotImplementedError("it is not asked for a log")

    async def stop(self) -> None:
        """Let it end its worker itself: one that is killed comes back."""
        for task in self._publishing:
            task.cancel()
        if self.server.process.returncode is None:
            self.server.process.terminate()
        await self.server.wait(STOP_S)

    async def _publish(self, publisher: Publisher, name: str, job: Job) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time() + max(0.0, job.start_at - time.time())
        for number in range(job.events):
            due = begin + number / job.rate if job.rate else 0.0
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await publisher.room()
            event = {"n": self._emitted[name], "at": time.time()}
            self._emitted[name] += 1
            publisher.publish(f"/publish?channel={name}", event)
        publisher.close_when_answered()


class Publisher(asyncio.Protocol):
    """One connection on which publications follow each other without waiting for every answer."""

    def __init__(self) -> None:
        self._waiting = 0
        self._last = False
        self._room = asyncio.Event()
        self._room.set()
        self._transport: asyncio.Transport | None = None

    async def room(self) -> None:
        await self._room.wait()

    def publish(self, path: str, event: dict[str, float]) -> None:
        assert self._transport is not None
        self._transport.write(with_body("POST", path, event))
        self._waiting += 1
        if self._waiting >= WINDOW:
            self._room.clear()

    def close_when_answered(self) -> None:
        self._last = True
        self._close_if_done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._waiting -= data.count(b"HTTP/1.1 20")
        if self._waiting < WINDOW:
            self._room.set()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._last and self._waiting <= 0 and self._transport is not None:
            self._transport.close()


async def _connect(address: Address) -> Publisher:
    _, publisher = await asyncio.get_running_loop().create_connection(Publisher, address.host, address.port)
    return publisher


def _module() -> Path | None:
    return next((folder / _MODULE for folder in _MODULES if (folder / _MODULE).exists()), None)


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def _missing() -> str | None:
    if _nginx() is None or _module() is None:
        return "there is no nginx with Nchan: apt-get install nginx-light libnginx-mod-nchan"
    return None


def _command() -> Sequence[str]:
    """Its configuration lies in the directory it starts in; it says where it listens once it does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration = _CONFIGURATION.format(module=_module(), user=user, files=files, port=port)
    return ("sh", "-c", _SCRIPT, str(port), str(_nginx()), configuration)


def _versions() -> dict[str, str]:
    """nginx says its own; that of the module only the package manager knows."""
    said = subprocess.run([str(_nginx()), "-v"], capture_output=True, text=True, timeout=10, check=True).stderr
    found = {"nginx": said.strip().rpartition("/")[2]}
    if (query := shutil.which("dpkg-query")) is not None:
        words = ("-W", "-f", "${Version}", "libnginx-mod-nchan")
        module = subprocess.run([query, *words], capture_output=True, text=True, timeout=10, check=False).stdout
        found["nchan"] = re.sub(r"^\d+:", "", module.strip()) or "unknown"
    return found


NCHAN = Contender(
    "nchan",
    "nginx with Nchan, one worker, messages in shared memory; the load client publishes over one connection",
    _command,
    stage=NchanStage,
    missing=_missing,
    versions=_versions,
)
