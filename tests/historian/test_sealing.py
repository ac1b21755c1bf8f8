"""The sealer's thread: what hinders it is told, and it goes on."""

from __future__ import annotations

import threading

import pytest

from gwanje.historian import sealing
from gwanje.historian.recorder import Recorder
from gwanje.historian.sealing import SealThread


def test_a_sealer_that_broke_says_so_and_tries_again(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    again = threading.Event()

    def seal(*_arguments: object) -> int:
        told.append(sealer.error)
        if len(told) == 1:
            raise RuntimeError("a file of another kind")
        again.set()
        return 0

    monkeypatch.setattr(sealing, "seal_closed", seal)
    monkeypatch.setattr(sealing, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(sealing, "RETRY_S", 0.001)
    sealer = SealThread(recorder)
    sealer.start()
    assert again.wait(30)
    assert sealer.stop(30)
    assert told[:2] == ["", "cannot seal: a file of another kind"]
