"""Staging: the bundle is copied to the device, the stick goes on to the next one, and the copy is installed."""
import time

from ou_lab.engine import wait_until
from test_interruptions import assert_consistent


def copied_bytes(device):
    staged = device.state / "staged"
    return sum(file.stat().st_size for file in staged.rglob("*") if file.is_file()) if staged.exists() else 0


def nothing_staged(device):
    return not list((device.state / "staged").iterdir())


def wait_for_copying(device):
    """Until something is copied; the copy is not complete then."""
    wait_until("the copy to begin", lambda: copied_bytes(device) > 1 << 20, 60, 0.001)


def hours_from_now(hours):
    return time.strftime("%H:%M", time.gmtime(time.time() + hours * 3600))


def test_the_stick_is_pulled_when_it_was_copied_and_the_update_goes_on(device, factory, stick):
    two = factory.two()
    device.options["STAGE"] = "true"
    medium = stick(two.bundle)
    medium.insert()
    device.run_agent()
    assert device.wait_for_outcome()["result"] == "staged"
    wait_until("the result on the stick", lambda: [r["result"] for r in medium.results()] == ["staged"], 30)
    medium.pull()
    outcome = device.wait_for_outcome(2)
    assert outcome["result"] == "updated", outcome
    wait_until("the copy to be removed", lambda: nothing_staged(device), 30)
    assert_consistent(device, factory, two)


def test_the_stick_is_pulled_while_it_is_copied_and_comes_back(device, factory, stick):
    two = factory.two()
    device.options["STAGE"] = "true"
    medium = stick(two.bundle)
    device.run_agent()
    medium.insert()
    wait_for_copying(device)
    medium.pull()
    wait_until("the agent to wait", lambda: device.doing() == "waiting for the medium", 60)
    assert not device.outcomes() and device.phase() is None
    medium.insert()
    assert device.wait_for_outcome()["result"] == "staged"
    outcome = device.wait_for_outcome(2)
    assert outcome["result"] == "updated", outcome
    assert_consistent(device, factory, two)


def test_the_agent_is_killed_while_it_copies_and_the_next_one_goes_on(device, factory, stick):
    two = factory.two()
    device.options["STAGE"] = "true"
    medium = stick(two.bundle)
    medium.insert()
    device.run_agent()
    wait_for_copying(device)
    device.kill_agent()
    assert not list((device.state / "staged").glob("*/manifest.json"))
    assert device.status()["staged"]["complete"] is False
    device.run_agent()
    outcome = device.wait_for_outcome()
    assert outcome["result"] == "staged", outcome
    assert device.wait_for_outcome(2)["result"] == "updated"
    assert_consistent(device, factory, two)


def test_a_copy_waits_for_its_window_and_is_installed_by_the_next_agent(device, factory, stick):
    two = factory.two()
    device.options["WINDOW"] = f"{hours_from_now(2)}-{hours_from_now(3)}"
    before = device.fingerprint()
    medium = stick(two.bundle)
    medium.insert()
    device.run_agent()
    assert device.wait_for_outcome()["result"] == "staged"
    medium.eject()
    device.wait_for_log("is gone")
    staged = device.status()["staged"]
    assert staged["complete"] and 3600 < staged["window_opens_in_seconds"] <= 7200
    assert device.fingerprint() == before
    device.kill_agent()
    device.options["WINDOW"] = f"{hours_from_now(-1)}-{hours_from_now(2)}"
    device.run_agent()
    assert device.wait_for_outcome(2)["result"] == "updated"
    assert_consistent(device, factory, two)
