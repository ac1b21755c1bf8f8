"""A hundred thousand commands whose time is over, at devices that count what reaches them: none does."""

import pytest

from gwanje.io.field.modbus.bench_days import expired
from gwanje.io.field.modbus.bench_fleet import PeerError, fleet


def test_no_expired_command_reaches_a_device():
    try:
        with fleet(20) as town:
            found = expired(town, 100_000)
    except PeerError as error:
        pytest.skip(str(error))
    print(f"\n{found.note}")
    assert found.value == 0.0
    assert found.holds
