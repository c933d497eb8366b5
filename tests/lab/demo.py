"""The main job on the lab device, step by step, for people to watch. tests/demo.sh runs it."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ou_lab.device import BUILD, BUNDLE_TOOL, LabDevice
from ou_lab.engine import wait_until
from ou_lab.media import Stick, bytes_of
from ou_lab.releases import Factory, Release

STARTED = time.monotonic()


class DemoFailed(Exception):
    pass


def say(text: str) -> None:
    print(f"\n== [{time.monotonic() - STARTED:4.0f}s] {text}", flush=True)


def show(text: str) -> None:
    print("\n".join("     " + line for line in text.rstrip().splitlines()), flush=True)


def check(what: str, holds: Any) -> None:
    print(f"  {'ok  ' if holds else 'NOT '} {what}", flush=True)
    if not holds:
        raise DemoFailed(what)


def tool(*words: str | Path) -> None:
    command = [str(BUNDLE_TOOL), *map(str, words)]
    print("  $ bundle-tool " + " ".join(command[1:]), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    show(done.stdout + done.stderr)
    check(f"bundle-tool {words[0]} succeeds", done.returncode == 0)


def wait_and_tell(device: LabDevice, count: int) -> dict:
    """Waits for an outcome and prints what the agent does meanwhile."""
    told = ""

    def ended() -> bool:
        nonlocal told
        doing = device.doing()
        if doing and doing != told:
            told = doing
            print(f"  [{time.monotonic() - STARTED:4.0f}s] the agent: {doing}", flush=True)
        return len(device.outcomes()) >= count
    wait_until("the update to end", ended, 600)
    return device.wait_for_outcome(count)


def result_text(stick: Stick) -> str:
    wait_until("the result on the stick", stick.results, 60)
    return [text for name, text in stick.files("offline-updater-results") if name.endswith(".txt")][-1]


def copied_stick(path: Path, release: Release) -> Stick:
    """A stick that `bundle-tool copy` has filled, as its owner would."""
    stick = Stick(path, int(bytes_of(release.bundle) * 1.1) + (64 << 20))
    with stick.mounted() as mount:
        tool("copy", release.bundle, mount)
    return stick


def describe(device: LabDevice) -> None:
    for name, container in sorted(device.containers().items()):
        show(f"{name:8} image {container['Image'][7:19]}  running: {container['State']['Running']}"
             f"  since {container['State']['StartedAt'][:19]}")


def run(directory: Path) -> None:
    say("A fleet owner makes a key and three releases from container images (busybox, and 300 MB of Debian files)")
    factory = Factory.cached()
    one, two, crashing = factory.one(), factory.two(), factory.crashing()
    tool("verify", "--trust", factory.key.with_suffix(".pub"), two.bundle)
    tool("inspect", two.bundle)

    say("Releases 2 and 3 are copied to a stick each")
    stick = copied_stick(directory / "stick2.img", two)
    bad = copied_stick(directory / "stick3.img", crashing)

    say("A device of the fleet runs release 1; it has no network")
    device = LabDevice(directory / "device")
    try:
        factory.put_into_service(device, one)
        describe(device)
        before = device.containers()

        say("Somebody plugs in the stick with release 2")
        device.run_agent()
        stick.insert()
        outcome = wait_and_tell(device, 1)
        describe(device)
        show(result_text(stick))
        after = device.containers()
        check("the device runs release 2", outcome["result"] == "updated" and device.running_commit() == two.commit)
        check("the data of its volume is still there", device.volume_lines("data", "log") ==
              ["start of counter one", "start of counter two"])
        check("the service that did not change was not restarted", after["web"]["Id"] == before["web"]["Id"]
              and after["web"]["State"]["StartedAt"] == before["web"]["State"]["StartedAt"])
        check("config.json is what it was", json.loads(device.config_json.read_text()) == device.identity)
        stick.eject()

        say("Release 3 crashes when it starts: the device goes back by itself")
        bad.insert()
        outcome = wait_and_tell(device, 2)
        describe(device)
        show(result_text(bad))
        check("the device runs release 2 again", outcome["result"] == "reverted"
              and device.running_commit() == two.commit)

        say("The same stick again, as somebody will try")
        bad.eject()
        device.wait_for_log("is gone", 2, 30)
        bad.insert()
        outcome = wait_and_tell(device, 3)
        show(outcome["error"]["message"])
        check("it is recognised and nothing is tried a second time", outcome["result"] == "refused")
    except BaseException:
        print(device.logs())
        raise
    finally:
        device.stop()
        stick.eject()
        bad.eject()


def main() -> int:
    base = BUILD / "lab-devices"
    base.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="demo", dir=base))
    try:
        run(directory)
    except (DemoFailed, TimeoutError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"\nFAIL: {error}")
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"\nPASS: updated from a stick with the data kept, went back from a bad release, in "
          f"{time.monotonic() - STARTED:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
