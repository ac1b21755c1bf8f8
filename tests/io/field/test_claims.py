"""Two cities never drive one device: the second is told, waits, and takes over when the first is gone."""

import asyncio
import errno
import os
import subprocess
import sys

import pytest

from gwanje.io.field.claims import Claim, ClaimedElsewhereError
from gwanje.io.field.modbus.claimed import ClaimedLink

HOLD = """
import sys
from pathlib import Path
from gwanje.io.field.claims import Claim
Claim(Path(sys.argv[1]), "127.0.0.1:15021/1").take()
print("taken", flush=True)
sys.stdin.read()
"""


class Recorded:
    """A link that notes whether it was opened."""

    def __init__(self):
        self.opened = 0

    async def open(self):
        self.opened += 1

    def close(self):
        pass

    async def read(self, address, count):
        return bytes(2 * count)

    async def write(self, address, registers):
        pass


def test_a_claim_is_one_processs_and_ends_with_it_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"taken\n"
    said = []
    link = Recorded()
    claimed = ClaimedLink(link, Claim(tmp_path, "127.0.0.1:15021/1"), said.append)
    for _ in range(3):
        with pytest.raises(ClaimedElsewhereError, match=f"process {holder.pid}"):
            asyncio.run(claimed.open())
    assert len(said) == 1, "told once, not at every attempt"
    assert link.opened == 0, "the device was touched without the claim"
    holder.kill()
    holder.communicate()
    asyncio.run(claimed.open())
    asyncio.run(claimed.open())
    assert link.opened == 2


def test_other_addresses_are_free_and_a_released_claim_too(tmp_path):
    first, other, again = (Claim(tmp_path, name) for name in ("a:1/1", "a:1/2", "a:1/1"))
    first.take()
    other.take()
    with pytest.raises(ClaimedElsewhereError):
        again.take()
    first.release()
    again.take()
    again.release()
    other.release()
    other.release()
    assert not (tmp_path / "a:1_1").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ClaimedElsewhereError, match="cannot be claimed"):
        Claim(tmp_path / "file", "a:1/1").take()


def test_a_full_disk_is_no_reason_to_leave_a_device_alone(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    claim = Claim(tmp_path, "127.0.0.1:15021/1")
    claim.take()
    with pytest.raises(ClaimedElsewhereError, match="another process"):
        Claim(tmp_path, "127.0.0.1:15021/1").take()
    claim.release()
    Claim(tmp_path, "127.0.0.1:15021/1").take()
