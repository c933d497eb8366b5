"""The virtual device itself: it is what it stands for, before anything is proven with it."""
from __future__ import annotations

from pathlib import Path

from ou_device.device import Device, new_stick
from ou_device.disk import OLD_VERSION
from ou_device.fleet import Fleet, commit_of


def test_a_release_from_a_stick_is_installed_and_reported_on_it(device: Device, fleet: Fleet, workdir: Path) -> None:
    bundle = fleet.bundle("two", 2, fleet.archives("two"))
    stick = new_stick(workdir, bundle)
    device.machine.plug(stick.image)
    assert device.wait_for_outcome()["result"] == "updated"
    device.check_runs(OLD_VERSION, bundle)
    assert device.volume_log() == ["start of one", "start of two"]
    device.machine.wait_for("the result on the stick", lambda: "updated" in device.try_run("sync; echo updated"), 10)
    device.machine.pull()
    assert [result["result"] for result in stick.results()] == ["updated"]
    assert commit_of(bundle) == stick.results()[0]["to"]
