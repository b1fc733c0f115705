"""Real files for the demo: a package that is installed here, hashed, packed, and served over HTTP.

Owns:   which package, its checksum by our own account, the archive, the HTTP server.
Never:  writes outside the folder it is given.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

BLOCK_BYTES = 65_536

#: Fast enough for a demo, slow enough to see the bar move.
BYTES_PER_S = 2_500_000


def installed_package(name: str) -> Path:
    """The folder of an installed package; it is not imported.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = find_spec(name)
    if spec is None or not spec.has_location:
        raise ModuleNotFoundError(f"{name} is not installed as files")
    return Path(str(spec.origin)).parent


def checksum_of(folder: Path, suffix: str) -> tuple[int, str]:
    """Number and common checksum of the files below a folder, as ``checksum`` defines it."""
    found = [path for path in folder.rglob(f"*{suffix}") if path.is_file() and not path.is_symlink()]
    combined = hashlib.sha256()
    for relative in sorted(os.fsencode(path.relative_to(folder)) for path in found):
        digest = hashlib.sha256((folder / os.fsdecode(relative)).read_bytes()).hexdigest()
        combined.update(b"%s  %s\n" % (digest.encode(), relative))
    return len(found), combined.hexdigest()


def pack(folder: Path, into: Path) -> Path:
    """Make an archive of a folder, and say where it is."""
    return Path(shutil.make_archive(str(into / folder.name), "tar", folder))


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            while block := source.read(BLOCK_BYTES):
                outputfile.write(block)
                time.sleep(BLOCK_BYTES / BYTES_PER_S)
        except ConnectionError:
            self.close_connection = True  # the demo was interrupted

    def log_message(self, format: str, *args: Any) -> None:
        """The demo shows the client's side."""
