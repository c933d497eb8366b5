"""A bundle with a host OS on the virtual device: how it ends, seen from outside. Each test starts from the same machine, in
which the fleet's first release runs on OS 6.5.3."""
from __future__ import annotations

from pathlib import Path

import pytest
from ou_device.device import STATE, Device, new_stick, updated_once
from ou_device.disk import OLD_VERSION
from ou_device.fleet import CRASH, NEW_SUPERVISOR_VERSION, NEW_VERSION, NEXT_VERSION, Fleet, commit_of


@pytest.fixture
def full(fleet: Fleet) -> Path:
    """OS, supervisor and release."""
    return fleet.second()


def check_all_new(device: Device, bundle: Path) -> None:
    device.check_runs(NEW_VERSION, bundle)
    assert "v" + NEW_SUPERVISOR_VERSION in device.machine.read("/etc/balena-supervisor/supervisor.conf")
    assert device.volume_log()[-1] == "start of two"


def check_all_old(device: Device) -> None:
    device.check_runs(OLD_VERSION, device.fleet.first().bundle)


def check_settled(device: Device) -> None:
    """Nothing is left of an update that is over."""
    assert device.journal() == {}
    left = device.try_run("ls /mnt/state | grep -E 'breadcrumb|variables'; ls /mnt/boot/.*.md5sum 2>/dev/null")
    assert left == ""
    assert "upgrade_available=0" in device.machine.read("/mnt/boot/EFI/BOOT/grubenv")


def test_os_supervisor_and_release_from_one_stick(device: Device, full: Path, workdir: Path) -> None:
    stick = new_stick(workdir, full)
    device.machine.plug(stick.image)
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["from_os"], outcome["to_os"]) == ("updated", OLD_VERSION, NEW_VERSION)
    check_all_new(device, full)
    check_settled(device)
    device.wait_until_stick_has("updated")
    device.machine.pull()
    assert "updated" in [result["result"] for result in stick.results()]


@pytest.mark.parametrize("variant, errors", [("no-boot", ["os-not-started"] * 2), ("unhealthy", ["os-reverted"])],
                         ids=["no-boot", "unhealthy"])
def test_an_os_that_does_not_work_is_gone_back_from(device: Device, fleet: Fleet, workdir: Path, variant: str,
                                                    errors: list[str]) -> None:
    bundle = fleet.bundle(f"bad-{variant}", 5, fleet.archives("two"), fleet.os_options(NEW_VERSION, variant))
    device.machine.plug(new_stick(workdir, bundle).image)
    outcome = device.wait_for_last_outcome("refused", seconds=1800)  # the stick is still in: nothing loops
    assert outcome["error"]["name"] == "bundle-failed-before"
    assert [o["error"]["name"] for o in device.final_outcomes()[:-1]] == errors
    check_all_old(device)
    check_settled(device)


@pytest.mark.parametrize("device", [updated_once], indirect=True)
@pytest.mark.parametrize("variant", ["good", "no-boot"])
def test_the_next_update_goes_into_the_slot_that_the_first_has_left(device: Device, fleet: Fleet, workdir: Path,
                                                                    variant: str) -> None:
    bundle = fleet.bundle(f"next-{variant}", 6, fleet.archives("three"), fleet.os_options(NEXT_VERSION, variant))
    grubenv = "/mnt/boot/EFI/BOOT/grubenv"
    assert "resin_root_part=3" in device.machine.read(grubenv), "the device is not in slot B"
    device.machine.plug(new_stick(workdir, bundle).image)
    if variant == "good":
        assert device.wait_for_outcome(sequence=6)["result"] == "updated"
        device.check_runs(NEXT_VERSION, bundle)
        assert "resin_root_part=2" in device.machine.read(grubenv)
    else:
        assert device.wait_for_last_outcome("refused", seconds=1800)["error"]["name"] == "bundle-failed-before"
        check_all_new(device, fleet.second())
        assert "resin_root_part=3" in device.machine.read(grubenv)
    check_settled(device)


def test_a_release_that_crashes_on_the_new_os_leaves_the_old_release_on_it(device: Device, fleet: Fleet, workdir: Path) -> None:
    bundle = fleet.bundle("crash", 5, fleet.archives("broken", CRASH), fleet.os_options(NEW_VERSION))
    device.machine.plug(new_stick(workdir, bundle).image)
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("reverted", "release-unhealthy")
    device.check_runs(NEW_VERSION, fleet.first().bundle)
    check_settled(device)


def test_a_stick_pulled_while_the_hostapp_is_read_may_come_back(device: Device, full: Path, workdir: Path) -> None:
    stick = new_stick(workdir, full)
    device.machine.plug(stick.image)
    device.wait_for_phase("installing-os")
    device.machine.wait_for("the slot to fill", lambda: "Running hostapp" in device.try_run(f"cat {STATE}/os-update.log"), 120)
    device.machine.pull()
    device.wait_for_log("waiting for the medium")
    device.machine.plug(stick.image)
    assert device.wait_for_outcome()["result"] == "updated"
    check_all_new(device, full)


def test_a_stick_pulled_while_it_is_copied_may_come_back_and_is_not_needed_afterwards(
        device: Device, fleet: Fleet, workdir: Path) -> None:
    bundle = fleet.bundle("staged", 5, fleet.archives("two"), (*fleet.os_options(NEW_VERSION), "--stage"))
    stick = new_stick(workdir, bundle)
    device.machine.plug(stick.image)
    device.machine.wait_for("the copy to begin", lambda: device.try_run(f"find {STATE}/staged -type f -size +1M") != "", 120, 0.1)
    device.machine.pull()
    device.wait_for_log("waiting for the medium")
    assert device.try_run(f"find {STATE}/staged -name manifest.json") == "", "a part of a copy must be no bundle"
    device.machine.plug(stick.image)
    device.wait_until_stick_has("staged")
    device.machine.pull()
    assert [result["result"] for result in stick.results()] == ["staged"]
    assert device.wait_for_outcome()["result"] == "updated"
    device.check_runs(NEW_VERSION, bundle)
    check_settled(device)
    assert device.try_run(f"ls {STATE}/staged") == ""


def test_the_engine_killed_while_the_os_is_installed_kills_nothing_else(device: Device, full: Path, workdir: Path) -> None:
    device.machine.plug(new_stick(workdir, full).image)
    device.wait_for_phase("installing-os")
    device.machine.run("systemctl kill -s KILL --kill-who=main balena.service")
    assert device.wait_for_outcome()["result"] == "updated"
    check_all_new(device, full)
    check_settled(device)


def test_the_supervisor_killed_while_the_os_is_installed(device: Device, full: Path, workdir: Path) -> None:
    device.machine.plug(new_stick(workdir, full).image)
    device.wait_for_phase("installing-os")
    device.machine.run("systemctl kill -s KILL balena-supervisor.service")
    assert device.wait_for_outcome()["result"] == "updated"
    check_all_new(device, full)


def test_a_second_stick_waits_its_turn(device: Device, fleet: Fleet, full: Path, workdir: Path) -> None:
    later = fleet.bundle("later", 6, fleet.archives("three"))
    device.machine.plug(new_stick(workdir, full).image)
    device.wait_for_phase("installing-os")
    device.machine.plug(new_stick(workdir, later, name="second").image, "second")
    def updated() -> list[int]:
        return [o["bundle"]["sequence"] for o in device.final_outcomes() if o["result"] == "updated"]
    device.machine.wait_for("both outcomes", lambda: updated() == [5, 6], 1200, 1)
    # The first stick is still in after the restart, and has nothing more to bring.
    assert {o["result"] for o in device.final_outcomes()} <= {"updated", "up-to-date"}
    device.check_runs(NEW_VERSION, later)


def test_of_two_sticks_at_once_the_newer_bundle_runs_in_the_end(device: Device, fleet: Fleet, workdir: Path) -> None:
    older = fleet.bundle("older", 5, fleet.archives("two"))
    newer = fleet.bundle("newer", 6, fleet.archives("three"))
    device.machine.plug(new_stick(workdir, older, name="first").image, "first")
    device.machine.plug(new_stick(workdir, newer, name="second").image, "second")
    device.machine.wait_for("both outcomes", lambda: len(device.final_outcomes()) == 2, 900, 1)
    results = {outcome["bundle"]["directory"]: outcome["result"] for outcome in device.final_outcomes()}
    assert results["newer.bundle"] == "updated"
    assert results["older.bundle"] in ("updated", "refused")  # whichever stick the kernel saw first
    device.check_runs(OLD_VERSION, newer)
    check_settled(device)


def test_a_stick_of_another_fleet_changes_nothing(device: Device, fleet: Fleet, workdir: Path) -> None:
    foreign = fleet.bundle("foreign", 9, None, fleet.os_options(NEW_VERSION), fleet="e" * 32)
    device.machine.plug(new_stick(workdir, foreign).image)
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "wrong-fleet")
    check_all_old(device)
    check_settled(device)


def test_a_full_data_partition_is_noticed_before_anything_is_touched(device: Device, full: Path, workdir: Path) -> None:
    device.machine.run("fallocate -l $(($(stat -f -c '%a * %S' /mnt/data) - 8000000)) /mnt/data/filler")
    device.machine.plug(new_stick(workdir, full).image)
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "not-enough-space")
    device.machine.run("rm /mnt/data/filler")
    check_all_old(device)
    check_settled(device)


def test_an_update_lock_is_waited_for_before_the_restart(device: Device, full: Path, workdir: Path) -> None:
    locks = "/tmp/balena-supervisor/services/*/main"
    device.machine.run(f"touch $(echo {locks})/updates.lock")
    boot = device.machine.boot_id()
    device.machine.plug(new_stick(workdir, full).image)
    device.wait_for_log("waiting for the update lock")
    assert device.machine.boot_id() == boot
    device.machine.run(f"rm $(echo {locks})/updates.lock")
    assert device.wait_for_outcome()["result"] == "updated"
    check_all_new(device, full)
    assert commit_of(full) == device.running_commit()
