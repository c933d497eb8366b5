"""bundle-tool copy: what arrives, what goes on, and what stops it before it starts."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import unittest

from bundles import ToolTest, run, tree


@contextlib.contextmanager
def ext4_stick(directory, size, *options):
    """A loop-mounted ext4 of that size."""
    image, mount = directory / "stick.img", directory / "mounted"
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", *options, image], check=True, capture_output=True)
    mount.mkdir()
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


class Copy(ToolTest):

    def setUp(self):
        super().setUp()
        self.bundle = self.create("a.bundle", self.key())
        self.stick = self.dir / "stick"
        self.stick.mkdir()
        self.copied = self.stick / "a.bundle"

    def names(self, directory):
        return sorted(x.name for x in pathlib.Path(directory).iterdir() if x.name != "lost+found")

    def copy(self, *more):
        return json.loads(run("copy", "--json", self.bundle, self.stick, *more).stdout)

    def test_again(self):
        """The same bundle again writes nothing."""
        self.assertGreater(self.copy()["written_bytes"], 0)
        self.assertEqual(self.copy()["written_bytes"], 0)
        self.assertEqual(tree(self.bundle), tree(self.copied))

    def test_resume(self):
        """An interrupted copy goes on: what is right is kept, what is not is written."""
        partial = self.stick / "a.bundle.partial"
        shutil.copytree(self.bundle, partial)
        blob = self.biggest_blob(partial)
        blob.write_bytes(b"\0" * blob.stat().st_size)
        (partial / "stranger").write_bytes(b"x")
        (partial / "blobs/sha256/stranger").mkdir()
        self.assertEqual(self.copy()["written_bytes"], blob_size := self.biggest_blob(
            self.bundle).stat().st_size)
        self.assertGreater(blob_size, 0)
        self.assertEqual(tree(self.bundle), tree(self.copied))
        self.assertEqual(self.names(self.stick), ["a.bundle"])

    def test_mend(self):
        """A damaged copy of the same bundle is mended."""
        self.copy()
        blob = self.biggest_blob(self.copied)
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + b"\0" if data[-1] else data[:-1] + b"\1")
        self.assertEqual(self.copy()["written_bytes"], len(data))
        self.assertEqual(tree(self.bundle), tree(self.copied))

    def test_added_signature(self):
        """A signature that was added later is brought to the stick."""
        self.copy()
        run("sign", "--sign-key", self.key("second"), self.bundle)
        self.assertGreater(self.copy()["written_bytes"], 0)
        self.assertTrue((self.copied / "manifest.json.1.minisig").exists())

    def test_another_bundle_of_that_name(self):
        """Another bundle of the same name is replaced only with --force."""
        self.copy()
        before = tree(self.copied)
        run(*self.create_arguments("a.bundle", self.dir / "owner.key"), "--name", "new", "--force")
        self.expect(6, "copy", self.bundle, self.stick)
        self.assertEqual(tree(self.copied), before)
        self.copy("--force")
        self.assertEqual(tree(self.copied), tree(self.bundle))
        self.assertEqual(self.names(self.stick), ["a.bundle"])

    def test_damaged_source(self):
        """A damaged source is found while copying and never gets its name."""
        blob = self.biggest_blob(self.bundle)
        data = blob.read_bytes()
        blob.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
        done = self.expect(3, "copy", self.bundle, self.stick)
        self.assertIn(blob.name, done.stderr)
        self.assertFalse(self.copied.exists())
        blob.unlink()
        self.expect(3, "copy", self.bundle, self.stick)

    def test_untrusted_source(self):
        """With --trust a bundle that is not signed by it is not copied."""
        self.key("other")
        self.expect(3, "copy", "--trust", self.dir / "other.pub", self.bundle, self.stick)
        self.assertEqual(self.names(self.stick), [])

    def test_warnings(self):
        """What devices will not take is said."""
        (self.bundle / "manifest.json.minisig").unlink()
        self.assertTrue(any("no signature" in x for x in self.copy()["warnings"]))

    def test_onto_itself(self):
        """A bundle is not copied over or into itself, damaged or not."""
        self.copy()
        blob = self.biggest_blob(self.copied)
        blob.write_bytes(b"\0" * blob.stat().st_size)
        before = tree(self.copied)
        self.expect(2, "copy", self.copied, self.stick)
        self.expect(2, "copy", self.bundle, self.bundle)
        self.assertEqual(tree(self.copied), before)
        self.copy()
        self.assertEqual(tree(self.bundle), tree(self.copied))

    def test_a_stray_file(self):
        """A copy that a device would refuse for a file beside it is mended."""
        self.copy()
        (self.copied / "notes.txt").write_text("hello")
        self.copy()
        self.assertEqual(tree(self.bundle), tree(self.copied))

    def test_wrong_destination(self):
        """A destination that is missing or no directory is refused."""
        self.expect(4, "copy", self.bundle, self.dir / "nothing")
        self.expect(2, "copy", self.bundle, self.dir / "main.tar")

    @unittest.skipIf(os.geteuid() != 0, "mounting needs root")
    def test_real_medium(self):
        """On a mounted ext4: arrives, is read back, and no warning is given."""
        with ext4_stick(self.dir, 32 << 20) as mount:
            done = run("copy", "--json", self.bundle, mount)
            self.assertEqual(json.loads(done.stdout)["filesystem"], "ext")
            self.assertEqual(json.loads(done.stdout)["warnings"], [])
            self.assertEqual(tree(self.bundle), tree(mount / "a.bundle"))

    @unittest.skipIf(os.geteuid() != 0, "mounting needs root")
    def test_too_small(self):
        """A medium that is too small is refused before anything is written."""
        with ext4_stick(self.dir, 1 << 20) as mount:
            done = self.expect(5, "copy", self.bundle, mount)
            self.assertIn("free", done.stderr)
            self.assertEqual(self.names(mount), [])

    @unittest.skipIf(os.geteuid() != 0, "mounting needs root")
    def test_too_few_inodes(self):
        """A medium with too few inodes is refused before anything is written."""
        with ext4_stick(self.dir, 32 << 20, "-N", "16") as mount:
            (mount / "many").mkdir()
            for i in range(os.statvfs(mount).f_favail - 10):
                (mount / "many" / str(i)).touch()
            done = self.expect(5, "copy", "--json", self.bundle, mount)
            self.assertEqual(json.loads(done.stdout)["error"]["name"], "not-enough-inodes")
            self.assertEqual(self.names(mount), ["many"])


if __name__ == "__main__":
    unittest.main()
