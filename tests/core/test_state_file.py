"""Small state files: replaced in one step, read bounded, never lost unread."""

import json
import os
from pathlib import Path

import pytest

from gwanje.core import state_file
from gwanje.core.state_file import ASIDE_MAX, StateFile


def made(folder: Path, durable: bool = True) -> StateFile:
    return StateFile(folder / "tags.json", 1_000, durable=durable)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_saved_is_loaded_and_is_for_us_alone(tmp_path: Path, durable: bool) -> None:
    file = made(tmp_path, durable)
    assert file.load() is None
    file.save({"name": "김"})
    assert made(tmp_path).load() == {"name": "김"}
    assert file.path.stat().st_mode & 0o077 == 0
    assert os.listdir(tmp_path) == ["tags.json"]


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"\xff", b"", b"[" * 900, b" " * 1_001, b"3"])
def test_a_damaged_file_stays_until_something_is_saved_and_is_set_aside_then(tmp_path: Path, damaged: bytes) -> None:
    file = made(tmp_path)
    file.path.write_bytes(damaged)
    for _ in range(2):  # a core that is killed before it saves leaves it for the next one
        with pytest.raises(ValueError, match=r"tags\.json is damaged"):
            file.load()
    file.save({"a": 1})
    assert (tmp_path / "tags.json.damaged-1").read_bytes() == damaged
    assert file.load() == {"a": 1}
    file.save({"a": 2})
    assert len(os.listdir(tmp_path)) == 2, "a file that was read is not set aside"


def test_a_file_that_cannot_be_read_is_not_saved_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path)
    file.path.mkdir()
    with pytest.raises(OSError, match="directory"):
        file.load()
    with pytest.raises(OSError, match=r"irectory|permitted"):
        file.save({})
    assert file.path.is_dir()
    file.path.rmdir()
    file.path.write_text("{")

    def refuse(*_args: object, **_more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(state_file.os, "link", refuse)
    with pytest.raises(OSError, match="permitted"):
        file.save({})
    assert file.path.read_text() == "{", "what cannot be set aside is not replaced"


def test_content_that_turns_out_wrong_can_be_doubted(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.path.write_text('{"tags": 3}')
    assert file.load() == {"tags": 3}
    file.doubt()
    file.save({"tags": []})
    assert json.loads((tmp_path / "tags.json.damaged-1").read_text()) == {"tags": 3}


def test_limits(tmp_path: Path) -> None:
    file = made(tmp_path)
    file.save({"a": 1})
    with pytest.raises(OSError, match="longer"):
        file.save({"a": "x" * 1_000})
    assert file.load() == {"a": 1}
    for number in range(1, ASIDE_MAX + 1):
        (tmp_path / f"tags.json.damaged-{number}").touch()
    file.doubt()
    with pytest.raises(OSError, match="damaged files"):
        file.save({})
