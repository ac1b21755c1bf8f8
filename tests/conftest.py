"""Shared fixtures: a whole city of one's own, on ports and in folders that no other city uses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHUNGBUK = ROOT / "configs" / "chungbuk"


def free_port_base(count: int) -> int:
    """Beginning of ``count`` consecutive ports that nobody listens on."""
    for base in range(21_000 + os.getpid() % 97 * 100, 60_000, 100):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no free ports")


def copy_site(target: Path) -> Path:
    """The default site with its ports moved to free ones."""
    site = target / "configs" / "chungbuk"
    shutil.copytree(CHUNGBUK, site)
    base = free_port_base(40)
    for path in site.rglob("*.toml"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^port = 150(\d\d)$", lambda m: f"port = {base + int(m[1]) % 40}", text)
        text = text.replace("127.0.0.1:15554", f"127.0.0.1:{base + 39}")
        path.write_text(text, encoding="utf-8")
    return site


class City:
    """A running ``gwanje up`` with what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.site = copy_site(folder)
        self.run_dir = Path(f"/dev/shm/gwanje-test-{os.getpid()}-{folder.name[-12:]}")
        self.data = folder / "data"
        self.lines: list[dict] = []
        self.errors: list[str] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "gwanje.core.cli.main", "up", str(self.site), "--run", str(self.run_dir),
                "--data", str(self.data), "--no-hmi", "--json", *arguments,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._grown = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(json.loads(line))
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self.errors.append(line.rstrip())

    def wait_for(self, condition, timeout_s: float = 30.0):
        """The first line (from now on) that fulfils the condition."""
        seen = len(self.lines)
        with self._grown:
            ok = self._grown.wait_for(
                lambda: any(condition(one) for one in self.lines[seen:]) or self.process.poll() is not None, timeout_s
            )
            found = [one for one in self.lines[seen:] if condition(one)]
        assert ok, f"not within {timeout_s} s; last lines {self.lines[-3:]}; errors {self.errors[-5:]}"
        assert found, f"the city ended; errors {self.errors[-5:]}"
        return found[0]

    def cli(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess:
        """Another gwanje command about this city."""
        command = [sys.executable, "-m", "gwanje.core.cli.main", *arguments, "--site", str(self.site)]
        return subprocess.run(
            [*command, "--run", str(self.run_dir)], capture_output=True, text=True, timeout=timeout_s
        )

    def status(self) -> dict:
        """What ``gwanje status --json`` says."""
        answer = self.cli("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def pid_of(self, part: str) -> int:
        """Process of a part."""
        return next(one["pid"] for one in self.status()["parts"] if one["part"] == part)

    def stop(self, number: int = signal.SIGINT) -> dict:
        """Ctrl-C; the last line."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)
        for reader in self._readers:
            reader.join(5)
        return self.lines[-1] if self.lines else {}

    def close(self) -> None:
        """End it in whatever state it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        shutil.rmtree(self.run_dir, ignore_errors=True)


@pytest.fixture(scope="module")
def start_city(tmp_path_factory):
    """Start cities; they end with the module."""
    cities: list[City] = []

    def start(*arguments: str) -> City:
        cities.append(City(tmp_path_factory.mktemp("city"), *arguments))
        return cities[-1]

    yield start
    for city in cities:
        city.close()


@pytest.fixture
def site_copy(tmp_path):
    """A copy of the default site on free ports."""
    return copy_site(tmp_path)
