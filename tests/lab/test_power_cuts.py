"""The power goes at random moments of an update of the lab device, with what was not written by then: the real engine and the real
agent, so that dozens of cuts take minutes. The virtual device has the same for a host OS."""
import os
import random
import shutil

import pytest
from ou_lab.device import BUILD
from ou_lab.engine import wait_until
from ou_lab.power_cut import DISKS, HOME, Recording, is_final
from ou_lab.recorded_disk import ALL, NOTHING, SOME
from test_interruptions import assert_consistent

COUNT = int(os.environ.get("OU_LAB_CUTS", "4"))  # of each recording
SEED = int(os.environ.get("OU_LAB_SEED", "1"))  # the moments; what exactly is on the disk then is never quite the same
SCENARIOS = {"update": {}, "copied-first": {"STAGE": "true"}, "crashes": {}}


@pytest.fixture
def recording(factory, request):
    for directory in (HOME, DISKS):
        shutil.rmtree(directory, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    release = factory.crashing() if request.param == "crashes" else factory.two()
    yield Recording(DISKS / request.param, factory, release, SCENARIOS[request.param])
    shutil.rmtree(DISKS)
    shutil.rmtree(HOME)


def is_settled(lab):
    """No update is under way, nor a whole copy there that will be installed."""
    return lab.phase() is None and not list(lab.state.glob("staged/*/manifest.json"))


def check_after(recording, lab, stays):
    """It comes to rest as one of the two releases; with the stick, as far as it ever gets."""
    factory, release = recording.factory, recording.release
    two = factory.two()
    if not stays:
        lab.options["WAIT_FOR_MEDIUM_SECONDS"] = "3"
        lab.run_agent()
        wait_until("the update to be over", lambda: is_settled(lab), 180, 0.2)
        runs = two if lab.running_commit() == two.commit else factory.one()
        assert_consistent(lab, factory, runs)
    before = len(lab.outcomes())
    with recording.inserted():
        if stays:
            lab.run_agent()

        def last():
            outcomes = lab.outcomes()
            return outcomes[-1] if len(outcomes) > before and is_final(outcomes[-1]) else None
        outcome = wait_until("the outcome", last, 240, 0.2)
        if release == two:
            wait_until("the update", lambda: lab.outcomes()[-1]["result"] in ("updated", "up-to-date"), 120, 0.2)
            assert_consistent(lab, factory, two)
        else:
            assert (outcome["result"], outcome["error"]["name"]) in (
                ("reverted", "release-unhealthy"), ("refused", "bundle-failed-before")), outcome
            assert_consistent(lab, factory, factory.one())


@pytest.mark.parametrize("recording", SCENARIOS, indirect=True)
def test_the_power_goes(recording):
    dice = random.Random(SEED)
    stages = list(recording.stages)
    failures = []
    for index in range(COUNT):
        if index % len(stages) == 0:
            order = dice.sample(stages, len(stages))
        stage, part, left, stays = order[index % len(stages)], dice.random(), dice.choice((NOTHING, SOME, ALL)), dice.random() < 0.5
        own = random.Random(dice.getrandbits(30))
        name = f"OU_LAB_SEED={SEED}: cut {index}, {part:.1%} into {stage}, {left} left, the stick {'stays' if stays else 'goes'}"
        try:
            with recording.after(stage, part, left, own) as lab:
                check_after(recording, lab, stays)
            print("good:", name)
        except Exception as error:  # the others are worth a look, too
            print("BAD:", name, error)
            failures.append(f"{name}: {error}")
    assert not failures, "\n".join(failures)
