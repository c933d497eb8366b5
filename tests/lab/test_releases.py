"""From one release to the next, and back when it does not work."""
from ou_lab.engine import wait_until
from ou_lab.releases import copy_bundle


def assert_tidy(device):
    """No names of ours are left, and each running container's image has its supervisor's name."""
    for image in device.engine.client.images():
        assert not [tag for tag in image["RepoTags"] or [] if tag.startswith("offline-updater/") or "127.0.0.1" in tag]
    for service, container in device.containers().items():
        image = device.engine.client.image(container["Image"])
        assert any(tag.endswith(":latest") for tag in image["RepoTags"]), service
    assert device.phase() is None


def test_release_2_keeps_data_and_leaves_an_unchanged_service_alone(device, factory, stick):
    two = factory.two()
    before = device.containers()
    identity = device.config_json.read_bytes()
    medium = stick(two.bundle)
    device.run_agent()
    medium.insert()
    outcome = device.wait_for_outcome()
    assert outcome["result"] == "updated", outcome
    assert device.running_commit() == two.commit
    after = device.containers()
    assert device.volume_lines("data", "log") == ["start of counter one", "start of counter two"]
    assert after["web"]["Id"] == before["web"]["Id"]
    assert after["web"]["State"]["StartedAt"] == before["web"]["State"]["StartedAt"]
    assert after["counter"]["Image"] == two.manifest["service_images"]["counter"]
    assert device.config_json.read_bytes() == identity
    assert_tidy(device)
    with device.database() as db:
        assert db.execute("SELECT value FROM config WHERE key = 'pinDevice'").fetchone()[0] == \
            '{"app":1958513,"commit":"%s"}' % two.commit
    wait_until("the result on the medium", medium.results, 30)
    result = medium.results()[0]
    assert result["result"] == "updated" and result["device"] == "d" * 32
    (name, text), = [(n, t) for n, t in medium.files("offline-updater-results") if n.endswith(".txt")]
    assert text.startswith("UPDATED.")


def test_a_release_that_crashes_is_taken_back_and_the_same_stick_does_not_loop(device, factory, stick):
    """From release 1 to 2, to 3 that crashes, and back to 2."""
    crashing = factory.crashing()
    two = factory.two()
    assert device.install(two.bundle)["result"] == "updated"
    medium = stick(crashing.bundle)
    device.run_agent()
    medium.insert()
    outcome = device.wait_for_outcome(2)
    assert outcome["result"] == "reverted", outcome
    assert outcome["error"]["name"] == "release-unhealthy"
    assert "counter" in outcome["error"]["message"]
    assert device.running_commit() == two.commit
    assert device.containers()["counter"]["Image"] == two.manifest["service_images"]["counter"]
    assert device.containers()["counter"]["State"]["Running"]
    assert device.volume_lines("data", "log")[:2] == ["start of counter one", "start of counter two"]
    assert_tidy(device)

    before = device.fingerprint()
    medium.eject()
    device.wait_for_log("is gone")
    medium.insert()
    again = device.wait_for_outcome(3)
    assert (again["result"], again["error"]["name"]) == ("refused", "bundle-failed-before")
    assert device.fingerprint() == before

    stick(factory.release("mended", 5, factory.archives("mended")).bundle).insert()
    assert device.wait_for_outcome(4)["result"] == "updated"
    assert_tidy(device)


def test_a_release_that_fails_its_own_health_check_is_taken_back(device, factory, stick):
    device.run_agent()
    stick(factory.unhealthy().bundle).insert()
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["error"]["name"]) == ("reverted", "release-unhealthy")
    assert "health" in outcome["error"]["message"]
    assert device.running_commit() == factory.one().commit


def test_the_same_stick_after_a_success_says_up_to_date_and_changes_nothing(device, factory, stick):
    medium = stick(factory.two().bundle)
    device.run_agent()
    medium.insert()
    assert device.wait_for_outcome()["result"] == "updated"
    before = device.fingerprint()
    medium.eject()
    device.wait_for_log("is gone")
    medium.insert()
    assert device.wait_for_outcome(2)["result"] == "up-to-date"
    assert device.fingerprint() == before


def test_a_stick_that_is_there_at_start_is_taken(device, factory, stick):
    stick(factory.two().bundle).insert()
    device.run_agent()
    assert device.wait_for_outcome()["result"] == "updated"


def test_of_several_bundles_the_newest_applicable_one_is_taken(device, factory, stick):
    foreign = factory.release("foreign", 9, factory.archives("two"), fleet="0" * 32)
    stick(factory.two().bundle, factory.one().bundle, foreign.bundle).insert()
    device.run_agent()
    outcome = device.wait_for_outcome()
    assert (outcome["result"], outcome["bundle"]["name"]) == ("updated", "two")
    reasons = {other["bundle"]: other["error"]["name"] for other in outcome["others"]}
    assert reasons == {"foreign.bundle": "wrong-fleet", "one.bundle": "sequence-old"}


def test_an_update_lock_is_waited_for(device, factory, stick):
    lock = device.locks / "1958513/counter/updates.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    stick(factory.two().bundle).insert()
    device.run_agent()
    wait_until("the agent to wait for the lock", lambda: device.doing() == "waiting for an update lock", 120)
    assert device.running_commit() == factory.one().commit
    lock.unlink()
    assert device.wait_for_outcome()["result"] == "updated"


def test_install_by_hand_and_dry_run(device, factory, directory):
    two = factory.two()
    before = device.fingerprint()
    plan = device.command("install", two.bundle, "--dry-run")
    assert plan.returncode == 0 and "Would install" in plan.stdout, plan
    assert device.fingerprint() == before
    assert device.install(two.bundle)["result"] == "updated"
    medium = directory / "medium"  # a mounted medium, as far as the agent can tell
    medium.mkdir()
    copy_bundle(two, medium)
    assert device.install(medium)["result"] == "up-to-date"
    assert device.status()["running"]["release"] == two.commit
