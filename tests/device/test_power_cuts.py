"""The power goes at random moments of a whole update, and with it everything that the disk was not told to keep."""
from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from ou_device.device import Device, new_stick
from ou_device.disk import OLD_VERSION
from ou_device.fleet import NEW_VERSION, Fleet, commit_of

CYCLE_SECONDS = 150.0  # about as long as an update takes here from the stick to the end


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--seed")
        seed = random.randrange(1 << 30) if seed is None else seed
        print(f"power cuts: --seed {seed}")
        dice = random.Random(seed)
        count = metafunc.config.getoption("--cuts")
        moments = [(round(dice.uniform(1, CYCLE_SECONDS), 2), dice.random() < 0.5) for _ in range(count)]
        metafunc.parametrize("moment", moments, ids=[f"{index}-{seconds}s-{'stays' if stays else 'goes'}"
                                                     for index, (seconds, stays) in enumerate(moments)])


def check_converged(device: Device, bundle: Path) -> None:
    """One of the two versions as a whole, the same device, and nothing half done."""
    version = device.machine.os_version()
    assert version in (OLD_VERSION, NEW_VERSION)
    commit = device.running_commit()
    assert commit in (commit_of(bundle), commit_of(device.fleet.first().bundle))
    if commit == commit_of(bundle):
        assert version == NEW_VERSION, "the release was switched before the OS was confirmed"
    assert device.journal() == {}
    device.check_same_device()


def test_the_power_goes(workdir: Path, fleet: Fleet, moment: tuple[float, bool]) -> None:
    seconds, stick_stays = moment
    bundle = fleet.bundle("os-and-release", 5, fleet.archives("two"), fleet.os_options(NEW_VERSION))
    stick = new_stick(workdir, bundle)
    device = Device.started_anew(workdir / "device", fleet)
    try:
        device.machine.plug(stick.image)
        time.sleep(seconds)  # the moment itself is what is random: there is nothing to wait for
        device.machine.cut_power()
        device.machine.start()
        if not stick_stays:
            device.wait_until_in_service()
            device.wait_until_settled()
            check_converged(device, bundle)
        device.machine.plug(stick.image)
        device.wait_for_last_outcome("updated", "up-to-date", seconds=1800)  # with the stick it gets done
        device.check_runs(NEW_VERSION, bundle)
        assert device.journal() == {}
    except BaseException:
        print(device.report())
        raise
    finally:
        device.machine.stop()
