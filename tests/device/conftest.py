"""Fixtures for tests on the virtual device; the first one that runs builds it, which takes some minutes."""
from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Iterator

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ou_device import parts  # noqa: E402
from ou_device.device import Device, started  # noqa: E402
from ou_device.fleet import Fleet  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cuts", type=int, default=50, help="how many times the power is cut at random (default 50)")
    parser.addoption("--seed", type=int, default=random.randrange(1 << 30), help="where the random moments begin; each run says it")


def pytest_configure(config: pytest.Config) -> None:
    # CTest ends a test that takes too long with SIGTERM: leave no machine behind.
    if threading.current_thread() is threading.main_thread():  # not in a worker of pytest-xdist
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    if any("test_power_cuts" in report.nodeid for report in reports):
        terminalreporter.write_line(f"the power cuts were those of --seed {terminalreporter.config.getoption('--seed')}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = (yield).get_result()
    device = item.funcargs.get("device") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and device is not None and device.machine._process is not None:
        print(device.report())


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def workdir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(dir=parts.CACHE, prefix="run-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def device(request: pytest.FixtureRequest, workdir: Path, fleet: Fleet) -> Iterator[Device]:
    """The started machine, or what a parameter makes of the fleet."""
    machine = Device.resumed(workdir / "device", fleet, saved=getattr(request, "param", started)(fleet))
    yield machine
    machine.machine.stop()
