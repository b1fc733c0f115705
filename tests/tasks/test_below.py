from __future__ import annotations

import os
from pathlib import Path

import pytest

from streaming.tasks.below import open_below, open_inside


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_it_descends_and_holds_one_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    before = open_files()
    descriptor = open_below(tmp_path, ["a", "b"])
    assert os.listdir(descriptor) == ["file"]
    assert len(open_files()) == len(before) + 1
    os.close(descriptor)


def test_missing_directories_are_made_if_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        open_below(tmp_path, ["a", "b"])
    os.close(open_below(tmp_path, ["a", "b", "c"], make=True))
    assert (tmp_path / "a/b/c").is_dir()


def test_no_link_is_followed_not_even_to_the_inside(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    before = open_files()
    for make in (False, True):
        with pytest.raises(OSError, match=r"directory|links"):
            open_below(tmp_path, ["link"], make=make)
    assert open_files() == before


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "root")
    os.close(open_below(tmp_path / "link", ["a"]))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/"])
def test_what_is_no_name_of_an_entry_is_refused(tmp_path: Path, name: str) -> None:
    before = open_files()
    with pytest.raises(ValueError, match="not the name"):
        open_below(tmp_path, [name])
    with pytest.raises(ValueError, match="not the name"):
        open_inside(-1, name)
    assert open_files() == before
