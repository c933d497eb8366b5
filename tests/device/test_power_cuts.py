"""The power goes at random moments of a whole update, and with it what the disks were not told to keep. The update runs once and is
recorded (ou_device/recording.py); each test is the device after one cut, which has to come to a good end."""
from __future__ import annotations

import random
from pathlib import Path

import pytest
from ou_device.device import Device
from ou_device.disk import OLD_VERSION, SUPERVISOR_VERSION
from ou_device.fleet import NEW_SUPERVISOR_VERSION, NEW_VERSION, Fleet, commit_of
from ou_lab.recorded_disk import ALL, NOTHING, SOME
from ou_device.recording import STAGES, Moment, Recording

# Those in which the most is written, or the most is decided, are hit more often.
WEIGHTS = {"pulling": 2, "installing-os": 4, "rebooting": 2, "trying": 2, "configuring": 2, "switching": 2}


def moments(seed: int, count: int) -> list[tuple[Moment, bool]]:
    """When the power goes, and whether the stick stays."""
    dice = random.Random(seed)
    bag = [stage for stage in STAGES for _ in range(WEIGHTS.get(stage, 1))]
    stages: list[str] = []
    while len(stages) < count:
        stages += dice.sample(bag, len(bag))  # so that a few cuts are not all in one stage
    return [(Moment(stage, round(dice.random(), 4), dice.random() < 0.5, dice.choice((NOTHING, NOTHING, SOME, ALL)), dice.getrandbits(30)),
             dice.random() < 0.5) for stage in stages[:count]]


def name_of(index: int, moment: Moment, stays: bool) -> str:
    """A name for a person: 3-trying-41%-of-writes-some-left-stick-stays."""
    unit = "writes" if moment.by_writes else "time"
    return f"{index}-{moment.stage}-{moment.part:.0%}-of-{unit}-{moment.left}-left-stick-{'stays' if stays else 'goes'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        chosen = moments(metafunc.config.getoption("--seed"), metafunc.config.getoption("--cuts"))
        metafunc.parametrize("moment, stays", chosen, ids=[name_of(index, *one) for index, one in enumerate(chosen)])


@pytest.fixture(scope="session")
def bundle(fleet: Fleet) -> Path:
    return fleet.bundle("cut", 5, fleet.archives("two"),
                        fleet.os_options(NEW_VERSION) + fleet.supervisor_options(NEW_SUPERVISOR_VERSION))


@pytest.fixture(scope="session")
def recording(fleet: Fleet, bundle: Path) -> Recording:
    return Recording(fleet, bundle, "update")


def check_converged(device: Device, bundle: Path) -> None:
    """One of the two versions as a whole, the same device, and nothing half done."""
    version = device.machine.os_version()
    assert version in (OLD_VERSION, NEW_VERSION)
    commit = device.running_commit()
    assert commit in (commit_of(bundle), commit_of(device.fleet.first().bundle))
    supervisor = device.machine.read("/etc/balena-supervisor/supervisor.conf")
    assert (f"v{SUPERVISOR_VERSION}" in supervisor) != (f"v{NEW_SUPERVISOR_VERSION}" in supervisor)
    if commit == commit_of(bundle):
        assert version == NEW_VERSION, "the release was switched before the OS was confirmed"
        assert f"v{NEW_SUPERVISOR_VERSION}" in supervisor
    assert device.journal() == {}
    device.check_same_device()


def test_the_power_goes(workdir: Path, fleet: Fleet, bundle: Path, recording: Recording, moment: Moment, stays: bool) -> None:
    device, stick = recording.device_at(moment, workdir / "device", fleet)
    try:
        device.machine.start()
        if not stays:
            device.wait_until_in_service()
            device.wait_until_settled()
            check_converged(device, bundle)
        device.machine.plug(stick.image)
        device.wait_for_last_outcome("updated", "up-to-date", seconds=1800)  # with the stick it gets done
        check_converged(device, bundle)
        device.check_runs(NEW_VERSION, bundle)
        device.machine.wait_for("the new release to run", lambda: device.volume_log()[-1] == "start of two", 240, 1)
    except BaseException:
        print(device.report())
        raise
    finally:
        device.machine.stop()
