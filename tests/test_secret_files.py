"""A secret may stand in a file, and whatever is wrong with it, no line of it is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming.config import load_settings
from streaming.errors import InvalidSettings
from streaming.secret_files import BYTES_MAX, NAMES, read_secret_files, readable_by_others

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("STREAMING_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_each_of_them_may_stand_in_a_file(name: str, file: Path) -> None:
    assert read_secret_files({f"STREAMING_{name.upper()}_FILE": str(file)}) == {name: SECRET}
    assert read_secret_files({f"streaming_{name}_file": str(file)}) == {name: SECRET}


def test_settings_are_read_from_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_JWT_SECRET_FILE", str(file))
    store = file.with_name("store")
    store.write_text("memory://\n")
    monkeypatch.setenv("STREAMING_STORE_URL_FILE", str(store))
    settings = load_settings()

    assert settings.jwt_secret is not None
    assert (settings.jwt_secret.get_secret_value(), settings.store_url) == (SECRET, "memory://")
    assert load_settings(store_url="sqlite:///x").store_url == "sqlite:///x"


def test_what_is_named_for_nothing_else_is_not_read(tmp_path: Path) -> None:
    assert read_secret_files({"STREAMING_PORT_FILE": str(tmp_path / "none"), "STREAMING_JWT_SECRET": "x"}) == {}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"a", "a"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b" a \n", " a "),
        (b"", ""),
        ("é".encode(), "é"),
    ],
)
def test_one_newline_at_the_end_is_no_part_of_it(content: bytes, value: str, file: Path) -> None:
    file.write_bytes(content)

    assert read_secret_files({"STREAMING_JWT_SECRET_FILE": str(file)}) == {"jwt_secret": value}


def test_a_file_has_a_largest_size(file: Path) -> None:
    file.write_bytes(b"x" * BYTES_MAX)
    assert len(read_secret_files({"STREAMING_JWT_SECRET_FILE": str(file)})["jwt_secret"]) == BYTES_MAX
    file.write_bytes(b"x" * BYTES_MAX + b"\n")
    with pytest.raises(InvalidSettings, match="more than 65536 bytes"):
        read_secret_files({"STREAMING_JWT_SECRET_FILE": str(file)})


def _no_utf8(path: Path) -> str:
    path.write_bytes(SECRET.encode() + b"\xff")
    return str(path)


def _pipe(path: Path) -> str:
    path.unlink()
    os.mkfifo(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: "", "cannot be read"),
        (lambda file: f"{file}x", "No such file"),
        (lambda file: str(file.parent), "is no file|Is a directory"),
        (_no_utf8, "no UTF-8"),
        (_pipe, "is no file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(make: Callable[[Path], str], says: str, file: Path) -> None:
    path = make(file)
    with pytest.raises(InvalidSettings, match=says) as caught:
        read_secret_files({"STREAMING_JWT_SECRET_FILE": path})

    told = f"{caught.value.detail} {caught.value.errors}"
    assert [field.field for field in caught.value.errors] == ["STREAMING_JWT_SECRET_FILE"]
    assert path in told
    assert SECRET[:8] not in told


def test_a_secret_stands_in_one_place(file: Path) -> None:
    environ = {"STREAMING_JWT_SECRET_FILE": str(file), "streaming_jwt_secret": SECRET, "STREAMING_API_KEYS_FILE": "/x"}
    with pytest.raises(InvalidSettings, match="not both") as caught:
        read_secret_files(environ)

    assert [field.field for field in caught.value.errors] == ["STREAMING_API_KEYS_FILE", "STREAMING_JWT_SECRET_FILE"]
    assert SECRET not in caught.value.detail


def test_a_wrong_secret_in_a_file_is_not_quoted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("tooshort")
    monkeypatch.setenv("STREAMING_JWT_SECRET_FILE", str(file))
    with pytest.raises(InvalidSettings, match="STREAMING_JWT_SECRET: a secret has at least 32 bytes") as caught:
        load_settings()

    assert "tooshort" not in f"{caught.value.detail} {caught.value.errors}"


@pytest.mark.parametrize(("mode", "open"), [(0o600, False), (0o640, False), (0o604, True), (0o644, True)])
def test_files_that_everybody_may_read_are_found(mode: int, open: bool, file: Path) -> None:
    file.chmod(mode)
    found = readable_by_others({"STREAMING_API_KEYS_FILE": str(file), "STREAMING_STORE_URL_FILE": f"{file}x"})

    assert found == ([("STREAMING_API_KEYS_FILE", str(file))] if open else [])
    assert readable_by_others({"STREAMING_API_KEYS_FILE": "\x00"}) == []
