"""The link to a broker: a bounded queue that drops the oldest, reconnects without leaving anything behind."""

import asyncio
import os
import resource
import threading
import time

import pytest
from street_rig import free_ports, run

from gwanje.io.field.errors import ConnectError, LinkError, NoAnswerError, WriteForbiddenError
from gwanje.io.field.mqtt.broker import Broker
from gwanje.io.field.mqtt.link import Account, Inbox, MqttLink


def message(n):
    return ("t", str(n).encode(), False, n)


def test_the_oldest_gives_way_and_is_counted():
    woken = []
    inbox = Inbox(3, lambda: woken.append(1))
    for n in range(5):
        inbox.put(message(n))
    assert (inbox.dropped, inbox.taken, woken) == (2, 5, [1])
    assert [one[3] for one in inbox.batch(2)] == [2, 3]
    inbox.put(message(5))
    assert len(woken) == 2
    assert [one[3] for one in inbox.batch(9)] == [4, 5]
    assert inbox.batch(9) == []


def test_a_thread_that_fills_and_a_loop_that_empties_lose_nothing_uncounted():
    inbox = Inbox(50, lambda: None)
    thread = threading.Thread(target=lambda: [inbox.put(message(n)) for n in range(20_000)])
    thread.start()
    found = []
    while thread.is_alive() or len(inbox):
        found += [one[3] for one in inbox.batch(7)]
    thread.join()
    assert found == sorted(set(found))
    assert found[-1] == 19_999
    assert len(found) + inbox.dropped >= 20_000


def link_to(port, **more):
    return MqttLink(
        "127.0.0.1", port, Account("x"), 100, more.pop("timeout_s", 5.0), lambda: None,
        read_only=more.pop("read_only", False), mono_ns=time.monotonic_ns,
    )  # fmt: skip


def test_a_hundred_reconnects_leave_no_descriptor_and_no_thread():
    async def body():
        broker = Broker(10, time.monotonic_ns)
        await broker.open("127.0.0.1", 0)
        link = link_to(broker.port)
        await link.open(["a/+"])
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            lost = await link.open(["a/+"])
            assert not lost.done()
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
        # by name: threads of the event loop's executor come and go as it likes
        assert not [one for one in threading.enumerate() if one.name.startswith("paho-mqtt-client")]
        await link.close()
        await broker.close()

    run(body)


def test_nobody_there_somebody_silent_and_nothing_written_when_read_only():
    async def body():
        (port,) = free_ports(1)
        with pytest.raises(ConnectError) as refused:
            await link_to(port).open(["a"])
        assert refused.value.refused
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
        with pytest.raises(NoAnswerError):
            await link_to(port, timeout_s=0.3).open(["a"])
        server.close()
        with pytest.raises(WriteForbiddenError):
            link_to(port, read_only=True).publish("t", b"")
        with pytest.raises(LinkError):
            link_to(port).publish("t", b"")

    run(body)


def test_descriptors_beyond_those_that_select_can_watch():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2_048:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_024)]

    async def body():
        broker = Broker(10, time.monotonic_ns)
        await broker.open("127.0.0.1", 0)
        heard = asyncio.Event()
        link = MqttLink(
            "127.0.0.1", broker.port, Account("x"), 100, 5.0, heard.set, read_only=False, mono_ns=time.monotonic_ns,
        )  # fmt: skip
        await link.open(["a/+"])
        link.publish("a/b", b"1")
        async with asyncio.timeout(5.0):
            await heard.wait()
        assert [one[:2] for one in link.inbox.batch(9)] == [("a/b", b"1")]
        await link.close()
        await broker.close()

    try:
        run(body)
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
