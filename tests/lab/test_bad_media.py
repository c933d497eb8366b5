"""Media that must not be taken: each with its own error, and nothing on the device changed."""
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ou_lab.device import BUILD
from ou_lab.media import Stick
from ou_lab.releases import copy_bundle, run_tool


def largest_blob(bundle: Path) -> Path:
    return max((bundle / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def no_signature(bundle, factory):
    (bundle / "manifest.json.minisig").unlink()


def wrong_key(bundle, factory):
    (bundle / "manifest.json.minisig").unlink()
    run_tool("sign", "--sign-key", factory.make_key("stranger"), bundle)


def altered_manifest(bundle, factory):
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"sequence":2', '"sequence":3'))


def altered_chunk_table(bundle, factory):
    manifest = json.loads((bundle / "manifest.json").read_text())
    blob = manifest["blobs"]["sha256:" + largest_blob(bundle).name]
    blob["chunks"]["hashes"] = "A" * 8 + blob["chunks"]["hashes"][8:]
    (bundle / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))


def altered_blob(bundle, factory):
    path = largest_blob(bundle)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def truncated_blob(bundle, factory):
    path = largest_blob(bundle)
    os.truncate(path, path.stat().st_size - 1)


def missing_blob(bundle, factory):
    largest_blob(bundle).unlink()


def swapped_blobs(bundle, factory):
    first, second = sorted((bundle / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)[-2:]
    spare = bundle.parent / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def extra_blob(bundle, factory):
    (bundle / "blobs/sha256" / ("0" * 64)).write_text("surprise")


def altered_index(bundle, factory):
    (bundle / "index.json").write_text("{}")


def oversized_manifest(bundle, factory):
    os.truncate(bundle / "manifest.json", 9 << 20)


def json_bomb(bundle, factory):
    """Signed by the owner all the same: a tool gone wild must not take devices down."""
    (bundle / "manifest.json").write_text("[" * 100000)
    (bundle / "manifest.json.minisig").unlink()
    sign_raw(bundle, factory)


def sign_raw(bundle, factory):
    subprocess.run(["minisign", "-S", "-W", "-s", factory.key, "-m", bundle / "manifest.json"], check=True,
                   capture_output=True, input=b"\n")


def decompression_bomb(bundle, factory):
    """A signed table that promises less than the blob expands to."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    name = largest_blob(bundle).name
    blob = manifest["blobs"]["sha256:" + name]
    blob["uncompressed_size"] -= 1
    (bundle / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
    (bundle / "manifest.json.minisig").unlink()
    sign_raw(bundle, factory)


def linked_blob(bundle, factory):
    path = largest_blob(bundle)
    shutil.copyfile(path, bundle.parent / "elsewhere")
    path.unlink()
    path.symlink_to("../../../elsewhere")


def fifo_for_a_manifest(bundle, factory):
    (bundle / "manifest.json").unlink()
    os.mkfifo(bundle / "manifest.json")


BAD = {
    no_signature: "signature-missing",
    wrong_key: "signature-untrusted",
    altered_manifest: "signature-invalid",
    altered_chunk_table: "signature-invalid",
    truncated_blob: "blob-size",
    missing_blob: "blob-missing",
    swapped_blobs: "blob-size",
    extra_blob: "blob-unlisted",
    altered_index: "file-altered",
    oversized_manifest: "manifest-too-large",
    json_bomb: "limit-exceeded",
    linked_blob: "medium-unsafe-entry",
    fifo_for_a_manifest: "medium-unsafe-entry",
}


def test_damaged_bundles_are_refused_before_anything_is_changed(device, factory, stick, directory):
    device.run_agent()
    before = device.fingerprint()
    for count, (damage, expected) in enumerate(BAD.items(), start=1):
        bundle = copy_bundle(factory.two(), directory, damage.__name__)
        damage(bundle, factory)
        medium = Stick(directory / f"{damage.__name__}.img", 128 << 20, fill(directory, bundle))
        try:
            medium.insert()
            outcome = device.wait_for_outcome(count)
            assert (outcome["result"], outcome["error"]["name"]) == ("refused", expected), (damage.__name__, outcome)
            assert device.fingerprint() == before, damage.__name__
        finally:
            medium.eject()
            medium.path.unlink()
        shutil.rmtree(bundle)


def fill(directory: Path, bundle: Path) -> Path:
    """A directory with this bundle alone, as the content of a medium."""
    content = directory / "content"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    subprocess.run(["cp", "-a", bundle, directory / "elsewhere", content], check=False, capture_output=True)
    return content


@pytest.mark.parametrize("damage, expected", [(altered_blob, "blob-altered"), (decompression_bomb, "blob-expansion")])
def test_payload_that_is_not_what_was_signed_ends_the_update_with_nothing_changed(
        device, factory, stick, directory, damage, expected):
    bundle = copy_bundle(factory.two(), directory, damage.__name__)
    damage(bundle, factory)
    before = device.fingerprint()
    outcome = device.install(bundle)
    assert outcome["error"]["name"] in (expected, "chunk-table"), outcome
    assert outcome["result"] in ("failed", "refused")
    assert device.fingerprint() == before


def test_bundles_for_others_are_refused(device, factory, directory):
    two = factory.archives("two")
    before = device.fingerprint()

    def refusal(name, sequence=2, options=(), **more):
        release = factory.release(name, sequence, two, options, **more)
        outcome = device.install(release.bundle)
        assert outcome["result"] == "refused", outcome
        return outcome["error"]["name"]

    assert refusal("foreign", 9, fleet="0" * 32) == "wrong-fleet"
    assert refusal("other-type", device_type="raspberrypi3") == "wrong-device-type"
    assert refusal("not-listed", options=("--device-uuid", "e" * 32)) == "device-not-listed"
    assert refusal("new-os", options=("--min-os", "7.0.0")) == "os-version"
    assert refusal("new-supervisor", options=("--min-supervisor", "18.0.0")) == "supervisor-version"
    assert device.fingerprint() == before


def test_too_few_signatures(device, factory):
    second = factory.make_key("second")
    device.trust.write_text(f"threshold 2\nkey {factory.public(factory.key)}\nkey {factory.public(second)}\n")
    outcome = device.install(factory.two().bundle)
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "signature-threshold")


def test_an_older_sequence_is_refused(device, factory):
    assert device.install(factory.two().bundle)["result"] == "updated"
    before = device.fingerprint()
    outcome = device.install(factory.one().bundle)
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "sequence-old")
    assert device.fingerprint() == before


def test_media_that_are_not_for_bundles(device, factory, directory, stick):
    device.run_agent()
    before = device.fingerprint()
    boot = Stick(directory / "boot.img", 32 << 20, label="resin-boot")
    garbage = Stick(directory / "garbage.img", 32 << 20)
    with open(garbage.path, "r+b") as file:
        file.write(os.urandom(1 << 20))
    flasher = directory / "flasher"
    flasher.mkdir()
    (flasher / "balena-image-flasher").write_text("")
    installer = Stick(directory / "installer.img", 32 << 20, flasher)
    for count, (medium, expected) in enumerate(
            [(boot, "medium-refused"), (garbage, "medium-filesystem"), (installer, "medium-refused")], start=1):
        try:
            medium.insert()
            outcome = device.wait_for_outcome(count)
            assert (outcome["result"], outcome["error"]["name"]) == ("refused", expected), outcome
        finally:
            medium.eject()
    assert device.fingerprint() == before


@pytest.fixture
def small_file_system(directory):
    """Makes an ext4 file system for the engine to live on; unmounts it at the end."""
    with contextlib.ExitStack() as mounted:
        def make(size_bytes: int, *options: str) -> Path:
            return mounted.enter_context(Stick(directory / "small.img", size_bytes, options=options).mounted())

        yield make


@pytest.mark.parametrize("size_mib, options, expected", [(16, (), "not-enough-space"),
                                                         (400, ("-N", "16"), "not-enough-inodes")])
def test_too_little_room(device, factory, small_file_system, size_mib, options, expected):
    """The plan's arithmetic against a file system that is really too small."""
    device.options["ENGINE_ROOT"] = str(small_file_system(size_mib << 20, *options))
    before = device.fingerprint()
    outcome = device.install(factory.two().bundle)
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", expected), outcome
    assert device.fingerprint() == before


@pytest.fixture
def lying_medium(directory):
    """Shows a directory through a file system that answers truly only so many times; see tests/support/faultfs."""
    mounted = []

    def make(source: Path, honest_reads: int) -> Path:
        mount = directory / f"lying{len(mounted)}"
        mount.mkdir()
        subprocess.run([BUILD / "tests/support/faultfs/faultfs", source, mount, str(honest_reads)], check=True)
        mounted.append(mount)
        return mount

    yield make
    for mount in mounted:
        subprocess.run(["fusermount3", "-u", mount], check=True)


def test_a_medium_that_answers_differently_the_second_time(device, factory, lying_medium):
    """Every piece of it is read once: what was verified is what is used, so the lies are never heard."""
    two = factory.two()
    outcome = device.install(lying_medium(two.bundle.parent, 1) / two.bundle.name)
    assert outcome["result"] == "updated", outcome
    assert {service: container["Image"] for service, container in device.containers().items()} == \
        two.manifest["service_images"]


def test_a_medium_that_lies_when_it_is_looked_at_again(device, factory, lying_medium):
    """Nothing is taken over from an earlier look: the manifest is verified again, in the bytes that are used."""
    two = factory.two()
    medium = lying_medium(two.bundle.parent, 1)
    plan = device.command("install", medium / two.bundle.name, "--dry-run")  # has read the manifest
    assert plan.returncode == 0, plan
    before = device.fingerprint()
    outcome = device.install(medium / two.bundle.name)
    assert (outcome["result"], outcome["error"]["name"]) == ("refused", "signature-malformed"), outcome
    assert device.fingerprint() == before
