"""The demo's files are real ones."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest

from streaming.cli.files import checksum_of, file_server, installed_package, pack


def test_a_checksum_is_what_sha256sum_says(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.py").write_text("1")
    (tmp_path / "a.py").write_text("2")
    (tmp_path / "a.txt").write_text("3")
    (tmp_path / "link.py").symlink_to("a.py")
    files = ["a.py", "b/one.py"]
    said = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout  # noqa: S607  # coreutils

    assert checksum_of(tmp_path, ".py") == (2, hashlib.sha256(said).hexdigest())


def test_a_package_is_found_packed_and_served(tmp_path: Path) -> None:
    package = installed_package("rich")
    archive = pack(package, tmp_path)
    with file_server(tmp_path) as url, urllib.request.urlopen(f"{url}/{archive.name}") as answer:  # noqa: S310  # a server of this test
        fetched = answer.read()

    assert fetched == archive.read_bytes()
    with tarfile.open(archive) as packed:
        assert "./console.py" in packed.getnames()


def test_a_reader_that_leaves_is_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "large").write_bytes(bytes(4_000_000))
    with file_server(tmp_path) as url, urllib.request.urlopen(f"{url}/large") as answer:  # noqa: S310  # a server of this test
        answer.read(1)

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["no_such_package", "sys"])
def test_a_package_that_has_no_files_here_is_an_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        installed_package(name)
