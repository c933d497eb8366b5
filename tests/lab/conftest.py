"""Fixtures of the lab tests. A device's directory is below the build directory and gone after the test."""
from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
# The scenarios do not depend on how large the large image is; the benchmarks and the demo use the full size.
os.environ.setdefault("OU_LAB_BIG_BYTES", str(60 << 20))

from ou_lab.device import BUILD, LabDevice  # noqa: E402
from ou_lab.media import Stick  # noqa: E402
from ou_lab.releases import Factory  # noqa: E402

# Ended from outside, a test still stops what it has started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


@pytest.fixture(scope="session")
def factory() -> Factory:
    return Factory.cached()


@pytest.fixture
def directory() -> Path:
    base = BUILD / "lab-devices"
    base.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="d", dir=base))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def device(directory: Path, factory: Factory, request: pytest.FixtureRequest) -> LabDevice:
    """A device that runs release 1."""
    lab = LabDevice(directory / "device")
    try:
        factory.put_into_service(lab, factory.one())
        yield lab
    finally:
        failed = request.node.rep_call.failed if hasattr(request.node, "rep_call") else True
        lab.stop()
        if failed:
            print(lab.logs())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):  # noqa: ARG001
    outcome = yield
    setattr(item, "rep_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def stick(directory: Path):
    """Makes sticks, and takes them all out at the end."""
    made: list[Stick] = []

    def make(*bundles: Path, **options) -> Stick:
        made.append(Stick.with_bundles(directory / f"stick{len(made)}.img", list(bundles), **options))
        return made[-1]

    yield make
    for one in made:
        one.eject()
