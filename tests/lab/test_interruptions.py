"""Power cuts, pulled media, dead engines: the update is finished or undone, and data and identity stay."""
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ou_lab.engine import wait_until
from ou_lab.releases import copy_bundle
from test_releases import assert_tidy


class KillAtJournalWrite:
    """Watches the journal and kills the agent at its n-th change."""

    def __init__(self, device, number: int):
        self.device, self.left, self.killed = device, number, False
        self.journal = device.state / "journal.json"
        self.seen = None
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.done = threading.Event()

    def watch(self):
        while not self.done.is_set():
            try:
                stamp = (self.journal.stat().st_ino, self.journal.stat().st_mtime_ns)
            except FileNotFoundError:
                stamp = None
            if stamp != self.seen:
                self.seen = stamp
                self.left -= 1
                if self.left == 0:
                    os.kill(self.device.agent.pid, signal.SIGKILL)
                    self.killed = True
                    return
            time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def assert_consistent(device, factory, release):
    """The device runs one of the two releases in full, with the data and the identity it had."""
    expected = release.manifest["service_images"]
    containers = wait_until("all services to run", lambda: running(device, expected), 60)
    assert set(containers) == set(expected)
    assert device.volume_lines("data", "log")[0] == "start of counter one"
    assert json.loads(device.config_json.read_text()) == device.identity
    assert_tidy(device)


def begin(device, medium, phase, seconds=60):
    """Starts the agent with the medium in its port, and waits for a phase of the update."""
    medium.insert()
    device.run_agent()
    device.wait_for_phase(phase, seconds)


def running(device, expected):
    containers = device.containers()
    good = all(name in containers and containers[name]["Image"] == image and containers[name]["State"]["Running"]
               for name, image in expected.items())
    return containers if good else None


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_sigkill_of_the_agent_at_each_journal_write_of_an_update(device, factory, stick, number):
    two = factory.two()
    medium = stick(two.bundle)
    medium.insert()
    device.run_agent()
    with KillAtJournalWrite(device, number) as killer:
        wait_until("the agent to be killed", lambda: killer.killed, 120)
        device.agent.wait()
    device.run_agent()
    wait_until("the update to end", lambda: device.outcomes() and device.phase() is None, 120)
    assert device.outcomes()[-1]["result"] in ("updated", "up-to-date")
    assert_consistent(device, factory, two)


@pytest.mark.parametrize("number", [4, 5])
def test_sigkill_of_the_agent_while_it_goes_back(device, factory, stick, number):
    medium = stick(factory.crashing().bundle)
    medium.insert()
    device.run_agent()
    with KillAtJournalWrite(device, number) as killer:
        wait_until("the agent to be killed", lambda: killer.killed, 120)
        device.agent.wait()
    device.run_agent()
    wait_until("the update to end", lambda: device.outcomes() and device.phase() is None, 120)
    assert device.outcomes()[-1]["result"] in ("reverted", "refused")
    assert_consistent(device, factory, factory.one())


def test_the_medium_is_pulled_while_it_is_read_and_comes_back_elsewhere(device, factory, stick, directory):
    two = factory.two()
    medium = stick(two.bundle)
    other = stick(factory.one().bundle)
    device.run_agent()
    medium.insert()
    device.wait_for_phase("pulling")
    medium.pull()
    wait_until("the agent to wait", lambda: device.doing() == "waiting for the medium", 60)
    other.insert()  # a different stick does not disturb it, and takes the old device number
    time.sleep(1)
    assert device.phase() == "pulling" and not device.outcomes()
    medium.insert()
    outcome = device.wait_for_outcome()
    assert outcome["result"] == "updated", outcome
    assert_consistent(device, factory, two)


def test_a_medium_that_never_comes_back_leaves_the_device_as_it_was(device, factory, stick):
    device.options["WAIT_FOR_MEDIUM_SECONDS"] = "3"
    before = device.fingerprint()
    medium = stick(factory.two().bundle)
    device.run_agent()
    medium.insert()
    device.wait_for_phase("pulling")
    medium.pull()
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("failed", "medium-timeout"), outcome
    assert device.fingerprint() == before
    assert device.phase() is None


def test_the_medium_is_pulled_as_soon_as_it_is_there(device, factory, stick):
    """While it is looked at, mounted or verified, or when pulling has just begun: the next time it goes on."""
    two = factory.two()
    medium = stick(two.bundle)
    device.run_agent()
    for count in (1, 2):
        medium.insert()
        device.wait_for_log("is there", count, poll=0.001)
        medium.pull()
        device.wait_for_log("is gone", count)
    medium.insert()
    outcome = wait_until("the update", lambda: [o for o in device.outcomes() if o["result"] == "updated"], 120)[0]
    assert outcome["from"] == factory.one().commit
    assert all(o["result"] in ("refused", "failed") for o in device.outcomes()[:-1]), device.outcomes()
    assert_consistent(device, factory, two)


def test_the_medium_is_pulled_when_it_is_no_longer_needed(device, factory, stick):
    two = factory.two()
    medium = stick(two.bundle)
    begin(device, medium, "confirming", 120)
    medium.pull()
    assert device.wait_for_outcome()["result"] == "updated"
    assert_consistent(device, factory, two)


def test_the_engine_is_killed_while_it_pulls(device, factory, stick):
    two = factory.two()
    begin(device, stick(two.bundle), "pulling")
    device.engine.kill()
    wait_until("the agent to notice", lambda: device.doing() == "waiting for the engine", 30)
    device.engine.start()
    outcome = device.wait_for_outcome()
    assert outcome["result"] == "updated", outcome
    assert_consistent(device, factory, two)


def test_an_engine_that_stays_away_fails_the_update_and_the_next_one_works(device, factory, stick):
    two = factory.two()
    device.options["STALL_SECONDS"] = "3"
    medium = stick(two.bundle)
    begin(device, medium, "pulling")
    device.engine.kill()
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("failed", "engine-unavailable"), outcome
    device.engine.start()
    wait_until("release 1 to run again", lambda: running(device, factory.one().manifest["service_images"]), 60)
    medium.eject()
    device.wait_for_log("is gone")
    medium.insert()
    assert device.wait_for_outcome(2)["result"] == "updated"
    assert_consistent(device, factory, two)


def test_the_supervisor_is_killed_while_the_release_is_watched(device, factory, stick):
    two = factory.two()
    begin(device, stick(two.bundle), "confirming", 120)
    subprocess.run(["pkill", "-KILL", "-f", f"standin_supervisor.py --database {device.database_file}"], check=True)
    assert device.wait_for_outcome()["result"] == "updated"
    assert_consistent(device, factory, two)


def test_sigterm_stops_the_agent_at_once_and_the_next_one_goes_on(device, factory, stick):
    two = factory.two()
    begin(device, stick(two.bundle), "confirming", 120)
    device.agent.terminate()
    assert device.agent.wait(timeout=10) == 0
    assert device.phase() == "confirming"
    device.run_agent()
    wait_until("the update to end", lambda: device.phase() is None, 60)
    assert device.outcomes()[-1]["result"] in ("updated", "up-to-date")
    assert_consistent(device, factory, two)


def test_a_blob_that_changes_under_the_agent_is_noticed(device, factory, stick, directory):
    """The bundle verifies; then its largest blob's bytes are others. No unverified byte reaches the engine."""
    bundle = copy_bundle(factory.two(), directory, "two")
    blob = max((bundle / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    before = device.fingerprint()
    size = blob.stat().st_size
    process = subprocess.Popen([str(device_agent()), "install", str(bundle), "--json"], env=device.environment(),
                               stdout=subprocess.PIPE, text=True)
    device.wait_for_phase("pulling")
    with open(blob, "r+b") as file:
        file.seek(size - 1000)
        file.write(bytes(500))
    outcome = json.loads(process.communicate()[0])
    assert (outcome["result"], outcome["error"]["name"]) == ("failed", "blob-altered"), outcome
    assert device.fingerprint() == before
    shutil.rmtree(bundle)


def device_agent() -> Path:
    from ou_lab.device import AGENT
    return AGENT


@pytest.mark.parametrize("name", ["journal.json", "ledger.json"])
def test_an_agent_that_cannot_read_its_memory_answers_the_stick_and_changes_nothing(device, factory, stick, name):
    two = factory.two()
    before = device.fingerprint()
    device.state.mkdir(parents=True, exist_ok=True)
    (device.state / name).write_text("{")
    medium = stick(two.bundle)
    device.run_agent()
    medium.insert()
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "journal"), outcome
    wait_until("the result on the medium", medium.results, 30)
    assert device.fingerprint() == before
    medium.eject()
    (device.state / name).unlink()
    medium.insert()
    outcome = device.wait_for_outcome(2)
    assert outcome["result"] == "updated", outcome
    assert_consistent(device, factory, two)
