"""The power goes at random moments of a whole update, and with it what the disks were not told to keep. The update runs once and is
recorded (ou_device/recording.py); each test is the device after one cut, which has to come to a good end. Most updates are a
device's first, into its slot B; some are the next, into A."""
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from ou_device.device import Device, started, updated_once
from ou_device.disk import OLD_VERSION, SUPERVISOR_VERSION
from ou_device.fleet import (NEW_SUPERVISOR_VERSION, NEW_VERSION, NEXT_SUPERVISOR_VERSION, NEXT_VERSION, Fleet, commit_of,
                             sequence_of)
from ou_device.recording import STAGES, Moment, Recording
from ou_lab.recorded_disk import ALL, NOTHING, SOME

# Those in which the most is written, or the most is decided, are hit more often.
WEIGHTS = {"pulling": 2, "installing-os": 4, "rebooting": 2, "trying": 2, "configuring": 2, "switching": 2}
NEXT_EVERY = 5  # one in so many cuts is in the next update


@dataclass
class Update:
    """Of a device that was saved, from one release to `bundle`. Versions are those of OS and supervisor."""
    fleet: Fleet
    name: str
    saved: Callable[[Fleet], Path]
    old_versions: tuple[str, str]
    old_bundle: Path
    versions: tuple[str, str]
    bundle: Path
    release: str

    @cached_property
    def recording(self) -> Recording:
        return Recording(self.fleet, self.saved(self.fleet), self.bundle, self.name)


def moments(seed: int, count: int) -> list[tuple[Moment, bool]]:
    """When the power goes, and whether the stick stays."""
    dice = random.Random(seed)
    bag = [stage for stage in STAGES for _ in range(WEIGHTS.get(stage, 1))]
    stages: list[str] = []
    while len(stages) < count:
        stages += dice.sample(bag, len(bag))  # so that a few cuts are not all in one stage
    return [(Moment(stage, round(dice.random(), 4), dice.random() < 0.5, dice.choice((NOTHING, NOTHING, SOME, ALL)), dice.getrandbits(30)),
             dice.random() < 0.5) for stage in stages[:count]]


def name_of(index: int, update: str, moment: Moment, stays: bool) -> str:
    """A name for a person: 3-first-trying-41%-of-writes-some-left-stick-stays."""
    unit = "writes" if moment.by_writes else "time"
    return f"{index}-{update}-{moment.stage}-{moment.part:.0%}-of-{unit}-{moment.left}-left-stick-{'stays' if stays else 'goes'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        chosen = moments(metafunc.config.getoption("--seed"), metafunc.config.getoption("--cuts"))
        updates = ["next" if index % NEXT_EVERY == NEXT_EVERY - 1 else "first" for index in range(len(chosen))]
        cuts = [(update, *one) for update, one in zip(updates, chosen)]
        metafunc.parametrize("update, moment, stays", cuts, ids=[name_of(index, *cut) for index, cut in enumerate(cuts)],
                             indirect=["update"])


@pytest.fixture(scope="session")
def updates(fleet: Fleet) -> dict[str, Update]:
    factory, new, newest = (OLD_VERSION, SUPERVISOR_VERSION), (NEW_VERSION, NEW_SUPERVISOR_VERSION), (NEXT_VERSION, NEXT_SUPERVISOR_VERSION)
    bundle = fleet.bundle("next", 6, fleet.archives("three"),
                          fleet.os_options(NEXT_VERSION) + fleet.supervisor_options(NEXT_SUPERVISOR_VERSION))
    both = (Update(fleet, "first", started, factory, fleet.first().bundle, new, fleet.second(), "two"),
            Update(fleet, "next", updated_once, new, fleet.second(), newest, bundle, "three"))
    return {update.name: update for update in both}


@pytest.fixture
def update(request: pytest.FixtureRequest, updates: dict[str, Update]) -> Update:
    return updates[request.param]


def check_converged(device: Device, update: Update) -> None:
    """One of the two versions as a whole, the same device, and nothing half done."""
    version, commit = device.machine.os_version(), device.running_commit()
    assert version in (update.old_versions[0], update.versions[0])
    assert commit in (commit_of(update.old_bundle), commit_of(update.bundle))
    conf = device.machine.read("/etc/balena-supervisor/supervisor.conf")
    assert (f"v{update.old_versions[1]}" in conf) != (f"v{update.versions[1]}" in conf)
    if commit == commit_of(update.bundle):
        assert version == update.versions[0], "the release was switched before the OS was confirmed"
        assert f"v{update.versions[1]}" in conf
    assert device.journal() == {}
    device.check_same_device()


def test_the_power_goes(workdir: Path, fleet: Fleet, update: Update, moment: Moment, stays: bool) -> None:
    device, stick = update.recording.device_at(moment, workdir / "device", fleet)
    try:
        device.machine.start()
        if not stays:
            device.wait_until_in_service()
            device.wait_until_settled()
            check_converged(device, update)
        device.machine.plug(stick.image)
        sequence = sequence_of(update.bundle)
        device.wait_for_last_outcome("updated", "up-to-date", sequence=sequence, seconds=1800)  # with the stick it gets done
        check_converged(device, update)
        device.check_runs(update.versions[0], update.bundle)
        line = f"start of {update.release}"
        device.machine.wait_for("the new release to run", lambda: device.volume_log()[-1] == line, 240, 1)
    except BaseException:
        print(device.report())
        raise
    finally:
        device.machine.stop()
