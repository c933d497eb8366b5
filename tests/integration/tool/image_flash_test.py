"""bundle-tool image flash on loop devices: what arrives, and what a drive is after each thing that can go wrong."""

import contextlib
import json
import os
import pathlib
import pty
import random
import signal
import subprocess
import tempfile
import time
import unittest

TOOL = os.environ["BUNDLE_TOOL"]
FAULTY_DISK = os.environ["FAULTY_DISK"]
MIB = 1 << 20
DRIVE_BYTES = 48 * MIB
KINDS = {"raw": None, "gzip": "gzip -c", "bzip2": "bzip2 -c", "xz": "xz -0 -c", "zstd": "zstd -q -c", "zip": None}


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def run(*arguments):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def wait_until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Flash(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.image = self.dir / "os.img"
        # A partition table, data, a hole, data with zeros in between, and an odd number of sectors at the end.
        with open(self.image, "wb") as file:
            file.write(noise(510) + b"\x55\xaa" + noise(3 * MIB - 512, 2))
            file.seek(20 * MIB)
            file.write(noise(MIB, 3) + bytes(MIB) + noise(2 * MIB + 3 * 512, 4))
        self.content = self.image.read_bytes()
        self.backing = self.dir / "drive"

    def drive(self, size=DRIVE_BYTES, *options):
        """A loop device on a drive full of old data."""
        self.backing.write_bytes(b"\xff" * size)
        return self.loop(self.backing, *options)

    def loop(self, file, *options):
        device = subprocess.run(["losetup", "--find", "--show", *options, file], check=True, capture_output=True,
                                text=True).stdout.strip()
        self.stack.callback(subprocess.run, ["losetup", "--detach", device], check=True)
        if "--read-only" not in options:  # a loop device keeps what an agent protected while it was a medium of the lab
            subprocess.run(["blockdev", "--setrw", device], check=True)
        return device

    def faulty_drive(self, fault, offset=0):
        self.backing.write_bytes(b"\xff" * DRIVE_BYTES)
        mount = self.dir / "faulty"
        mount.mkdir()
        subprocess.run([FAULTY_DISK, self.backing, mount, fault, str(offset)], check=True)
        self.stack.callback(subprocess.run, ["umount", "--lazy", mount], check=True)
        return self.loop(mount / "disk")

    def flash(self, image, drive, *options):
        return run("image", "flash", image, "--drive", drive, "--yes", "--allow-fixed", *options)

    def assert_arrived(self, content=None):
        """The image, then old data, then a cleared end."""
        content = self.content if content is None else content
        there = self.backing.read_bytes()
        self.assertEqual(len(there), DRIVE_BYTES)
        self.assertTrue(there[:len(content)] == content, "the image is not on the drive")
        self.assertTrue(there[len(content):-MIB] == b"\xff" * (DRIVE_BYTES - MIB - len(content)))
        self.assertTrue(there[-MIB:] == bytes(MIB), "the end of the drive was not cleared")

    def assert_no_table(self):
        there = self.backing.read_bytes()
        self.assertTrue(there[:MIB] == bytes(MIB), "the drive looks as if it could be used")
        self.assertTrue(there[-MIB:] == bytes(MIB), "the end of the drive was not cleared")

    def packed(self, kind, source=None):
        source = source or self.image
        target = self.dir / f"os.{kind}"
        if kind == "raw":
            return source
        if kind == "zip":
            subprocess.run(["zip", "-q", "-j", target, source], check=True)
        else:
            with open(source, "rb") as file, open(target, "wb") as out:
                subprocess.run(KINDS[kind].split(), stdin=file, stdout=out, check=True)
        return target

    def test_every_format_arrives(self):
        """Each format arrives bit for bit over old data."""
        for kind in KINDS:
            with self.subTest(kind), self.stack:
                result = self.flash(self.packed(kind), self.drive(), "--json")
                self.assertEqual(result.returncode, 0, result.stderr)
                outcome = json.loads(result.stdout)
                self.assertTrue(outcome["verified"])
                self.assertEqual(outcome["image_size_bytes"], len(self.content))
                self.assertLess(outcome["written_bytes"], 8 * MIB)
                self.assert_arrived()

    def test_zeros_without_a_command_for_them(self):
        """A drive that has no command for zeros gets them written where old data is."""
        drive = self.faulty_drive("none")
        result = self.flash(self.image, drive)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("safe to remove", result.stdout)
        self.assert_arrived()

    def test_without_verification(self):
        result = self.flash(self.image, self.drive(), "--no-verify", "--json")
        self.assertFalse(json.loads(result.stdout)["verified"])
        self.assert_arrived()

    def test_drive_with_large_blocks(self):
        """A drive with blocks of 4096 bytes: the image's end is filled with zeros."""
        result = self.flash(self.image, self.drive(DRIVE_BYTES, "--sector-size", "4096"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_arrived(self.content + bytes(-len(self.content) % 4096))

    def test_image_as_large_as_the_drive(self):
        """The end of the drive is the image's, and is written last like its start."""
        content = noise(2 * MIB) + bytes(2 * MIB) + noise(2 * MIB + 512)
        self.image.write_bytes(content)
        result = self.flash(self.packed("gzip"), self.drive(len(content)))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.backing.read_bytes(), content)

    def test_drive_smaller_than_its_two_ends(self):
        content = noise(MIB + MIB // 2)
        self.image.write_bytes(content)
        result = self.flash(self.image, self.drive(len(content)))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.backing.read_bytes(), content)

    def test_too_small(self):
        """A drive that is too small is not touched when the image's size is known, and has no table otherwise."""
        for kind, code in (("raw", 4), ("zip", 4), ("xz", 4), ("gzip", 5), ("bzip2", 5), ("zstd", 5)):
            with self.subTest(kind), self.stack:
                size = len(self.content) - 512
                result = self.flash(self.packed(kind), self.drive(size))
                self.assertEqual(result.returncode, code, result.stderr)
                if code == 4:
                    self.assertEqual(self.backing.read_bytes(), b"\xff" * size)
                else:
                    self.assertIn("larger than the drive", result.stderr)
                    self.assert_no_table()

    def test_damaged_image(self):
        """An image whose end is missing leaves a drive that does not look like one."""
        for kind in ("gzip", "bzip2", "xz", "zstd"):
            with self.subTest(kind), self.stack:
                packed = self.packed(kind)
                os.truncate(packed, packed.stat().st_size - 8)
                result = self.flash(packed, self.drive())
                self.assertEqual(result.returncode, 4, result.stderr)
                self.assertIn("incomplete", result.stderr)
                self.assert_no_table()

    def test_drive_that_lies(self):
        """A byte that reads back differently is found, wherever it is: in data, in zeros, in the table."""
        for offset in (2 * MIB, 10 * MIB, 600, 100):
            with self.subTest(offset=offset):
                with self.stack:
                    result = self.flash(self.image, self.faulty_drive("lie", offset))
                    self.assertEqual(result.returncode, 1, result.stderr)
                    self.assertIn("gives back other data", result.stderr)
                (self.dir / "faulty").rmdir()
                self.assertTrue(self.backing.read_bytes()[:512] == bytes(512))

    def test_forged_drive(self):
        """A drive that is smaller than it says."""
        result = self.flash(self.image, self.faulty_drive("wrap", 16 * MIB))
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("smaller than it says", result.stderr)

    def test_bad_drive(self):
        """Errors of the drive say where, and leave no table."""
        for fault in ("write-error", "read-error"):
            with self.subTest(fault):
                with self.stack:
                    result = self.flash(self.image, self.faulty_drive(fault, 21 * MIB - 5))
                    self.assertEqual(result.returncode, 1, result.stderr)
                    self.assertRegex(result.stderr, r"at byte 2\d{7}: Input/output error")
                    self.assertIn("incomplete", result.stderr)
                (self.dir / "faulty").rmdir()
                self.assert_no_table()

    def test_in_use(self):
        """A mounted drive, one that another program holds, and a read-only one are not written to."""
        self.backing.write_bytes(bytes(DRIVE_BYTES))
        subprocess.run(["mkfs.ext4", "-q", self.backing], check=True)
        before = self.backing.read_bytes()
        with self.stack:
            read_only = self.flash(self.image, self.loop(self.backing, "--read-only"))
        self.assertEqual(read_only.returncode, 4)
        self.assertIn("read-only", read_only.stderr)
        self.assertTrue(self.backing.read_bytes() == before)
        with self.stack:
            device = self.loop(self.backing)
            holder = os.open(device, os.O_RDONLY | os.O_EXCL)
            held = self.flash(self.image, device)
            os.close(holder)
        self.assertEqual(held.returncode, 4)
        self.assertIn("is in use", held.stderr)
        self.assertTrue(self.backing.read_bytes() == before)
        mount = self.dir / "mounted"
        mount.mkdir()
        with self.stack:
            device = self.loop(self.backing)
            subprocess.run(["mount", device, mount], check=True)
            self.stack.callback(subprocess.run, ["umount", mount], check=True)
            mounted = self.flash(self.image, device)
            listed = json.loads(run("drives", "--all", "--json").stdout)["drives"]
        self.assertEqual(mounted.returncode, 4)
        self.assertIn(str(mount), mounted.stderr)
        found = next(drive for drive in listed if drive["device"] == device)
        self.assertEqual(found["mounted_at"], [str(mount)])
        self.assertFalse(found["can_be_flashed"])

    def test_swap(self):
        device = self.drive()
        subprocess.run(["mkswap", device], check=True, capture_output=True)
        if subprocess.run(["swapon", device], capture_output=True).returncode != 0:
            self.skipTest("this kernel has no swap")
        self.stack.callback(subprocess.run, ["swapoff", device], check=True)
        result = self.flash(self.image, device)
        self.assertEqual(result.returncode, 4)
        self.assertIn("swap", result.stderr)

    def test_no_drive(self):
        """A file, a directory and the disk of this system."""
        self.assertEqual(self.flash(self.image, self.image).returncode, 4)
        self.assertEqual(self.flash(self.image, self.dir).returncode, 4)
        self.assertEqual(self.flash(self.image, self.dir / "none").returncode, 4)
        number = os.stat("/").st_dev
        system = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        if (system / "partition").exists():
            system = system.parent
        result = self.flash(self.image, f"/dev/{system.name}")
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn("holds the running system", result.stderr)

    def test_fixed_drive_needs_an_option(self):
        device = self.drive()
        result = run("image", "flash", self.image, "--drive", device, "--yes")
        self.assertEqual(result.returncode, 4)
        self.assertIn("--allow-fixed", result.stderr)
        self.assertTrue(self.backing.read_bytes() == b"\xff" * DRIVE_BYTES)

    def test_asking(self):
        """Without a terminal nothing is assumed; on one only "yes" counts."""
        device = self.drive()
        command = [TOOL, "image", "flash", self.image, "--drive", device, "--allow-fixed"]
        refused = run(*command[1:])
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--yes", refused.stderr)
        for answer, code in ((b"y\n", 1), (b"yes\n", 0)):
            self.assertTrue(self.backing.read_bytes() == b"\xff" * DRIVE_BYTES)
            near, far = pty.openpty()
            os.write(near, answer)
            result = subprocess.run(command, stdin=far, capture_output=True, text=True)
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertIn("50.3 MB", result.stderr)
            os.close(near)
            os.close(far)
        self.assert_arrived()

    def interrupt(self, act):
        """Acts on the running program and its drive while the image's body is being written, which slow decompression makes long."""
        size = 64 * MIB
        image, backing = self.dir / "long.img", self.backing
        with open(image, "wb") as file:
            piece = noise(MIB)
            for _ in range(24):
                file.write(piece)
        packed = self.packed("bzip2", image)
        with open(backing, "wb") as file:
            file.write(b"\xff" * (8 * MIB))
            file.truncate(size)
        device = self.loop(backing)
        running = subprocess.Popen([TOOL, "image", "flash", packed, "--drive", device, "--yes", "--allow-fixed"],
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

        def body_has_begun():
            with open(backing, "rb") as file:
                file.seek(MIB)
                return file.read(4096) == piece[:4096]

        wait_until(body_has_begun, "the image's second megabyte is on the drive")
        act(running, device)
        _, errors = running.communicate(timeout=60)
        with open(backing, "rb") as file:
            head = file.read(MIB)
            self.assertTrue(head == bytes(len(head)), "the drive looks as if it could be used")
        return running.returncode, errors

    def test_interrupted(self):
        code, errors = self.interrupt(lambda running, _: running.send_signal(signal.SIGINT))
        self.assertEqual(code, 1, errors)
        self.assertIn("incomplete", errors)

    def test_killed(self):
        code, _ = self.interrupt(lambda running, _: running.send_signal(signal.SIGKILL))
        self.assertEqual(code, -signal.SIGKILL)

    def test_pulled_out(self):
        """A drive without size is what the kernel leaves of one that was pulled out."""
        def pull_out(_, device):
            os.truncate(self.backing, 0)
            subprocess.run(["losetup", "--set-capacity", device], check=True)
        code, errors = self.interrupt(pull_out)
        self.assertEqual(code, 1, errors)
        self.assertIn("is gone", errors)


if __name__ == "__main__":
    unittest.main()
