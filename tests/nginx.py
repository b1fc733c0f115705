"""A real nginx in front of a server, with the configuration of the documentation, or with the site of deploy/nginx.

Owns:   its configuration, its process, the files that it needs meanwhile.
Never:  installs it; leaves a process behind.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

START_S, STOP_S = 10.0, 10.0

#: All requests share the few connections that are kept to the server, as behind any busy nginx: whatever is left over
#: of one request is there for the next one, whoever has sent it. The name is one under which the server answers.
_CONFIGURATION = """\
user {user};
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  {sites}
}}
"""

_SITE = """\
upstream localhost {{ server 127.0.0.1:{server}; keepalive 1; }}
server {{
  listen 127.0.0.1:{port};
  {rules}
}}
"""

#: Hands everything on as it is, but for what a rule keeps to itself.
PLAIN = """\
location / {
  proxy_pass http://localhost;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_request_buffering off;
}
location /audit { return 418; }
location = /stats { return 418; }
location ~ ^/tasks/count$ { return 418; }
"""


def documented() -> str:
    """What docs/deploy.md shows, with the server of a test."""
    page = ROOT.joinpath("docs/deploy.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(r"```nginx\n(location /streaming/ \{\n.*?^\}\n)```", page, re.MULTILINE | re.DOTALL)
    (block,) = found
    assert "http://127.0.0.1:8000/" in block
    return block.replace("http://127.0.0.1:8000/", "http://localhost/")


class NoNginx(Exception):
    """It is not installed."""


def _program() -> str:
    """Where it is.

    Raises:
        NoNginx: nowhere.
    """
    found: str | None = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise NoNginx("there is no nginx: apt-get install nginx-light")
    return found


@contextmanager
def nginx(server_port: int, rules: str = PLAIN) -> Iterator[int]:
    """Run nginx in front of a server on this machine, and yield the port that it listens on.

    Raises:
        NoNginx: it is not installed.
    """
    with _running(lambda port: _SITE.format(server=server_port, port=port, rules=rules)) as (port, _):
        yield port


@contextmanager
def site(server_port: int) -> Iterator[tuple[int, Path]]:
    """Run nginx with the files of deploy/nginx, but for the ports, and where its log files are.

    Yields:
        The port that it listens on, and the folder with its log files.

    Raises:
        NoNginx: it is not installed.
    """
    upstream, server = (ROOT.joinpath("deploy/nginx", name).read_text() for name in ("upstream.conf", "streaming.conf"))
    changed = {"127.0.0.1:8000": f"127.0.0.1:{server_port}", "/var/log/nginx/": ""}
    text = upstream + server
    for given, wanted in changed.items():
        assert given in text
        text = text.replace(given, wanted)
    assert text.count("    listen 80;") == 1
    with _running(lambda port: text.replace("    listen 80;", f"    listen 127.0.0.1:{port};")) as running:
        yield running


@contextmanager
def _running(sites: Callable[[int], str]) -> Iterator[tuple[int, Path]]:
    """Run nginx; yield its port and its folder."""
    program = _program()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="streaming-nginx-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        user = pwd.getpwuid(os.getuid()).pw_name
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(user=user, sites=sites(port)))
        command = [program, "-p", name, "-c", str(configuration), "-e", "stderr"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            _wait_for(process, port)
            yield port, folder
        finally:
            process.terminate()  # it ends its worker itself
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stderr is not None:
                process.stderr.close()


def _wait_for(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"nginx has ended: {process.communicate()[1]}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nginx does not listen")
