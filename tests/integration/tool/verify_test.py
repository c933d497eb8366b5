"""bundle-tool verify: every way in which a bundle can be wrong has its finding."""

import json
import unittest

from bundles import ToolTest, run


class Verify(ToolTest):

    def setUp(self):
        super().setUp()
        self.bundle = self.create("a.bundle", self.key())
        self.trust = self.dir / "owner.pub"

    def place(self, blob):
        return "blobs/sha256/" + blob.name

    def test_intact(self):
        """An intact bundle has no findings, also with litter of operating systems in it."""
        self.assertEqual(self.findings(self.bundle, self.trust), set())
        (self.bundle / "._manifest.json").write_bytes(b"x")
        (self.bundle / "System Volume Information").mkdir()
        self.assertEqual(self.findings(self.bundle, self.trust), set())

    def test_one_altered_byte_anywhere(self):
        """One flipped bit in any blob is found, with the blob and the chunk."""
        for blob in sorted((self.bundle / "blobs/sha256").iterdir()):
            size = blob.stat().st_size
            for position in (0, size // 2, size - 1):
                with self.subTest(blob=blob.name, position=position):
                    broken = self.clone(self.bundle)
                    target = broken / "blobs/sha256" / blob.name
                    data = bytearray(target.read_bytes())
                    data[position] ^= 1
                    target.write_bytes(data)
                    self.assertEqual(self.findings(broken, self.trust),
                                     {(self.place(blob), "blob-altered")})
        self.assertIn("chunk", run("verify", "--trust", self.trust, broken, check=False).stdout)

    def test_all_findings(self):
        """Several things that are wrong are all reported."""
        blobs = sorted((self.bundle / "blobs/sha256").iterdir(), key=lambda x: x.stat().st_size)
        blobs[0].unlink()
        data = blobs[-1].read_bytes()
        blobs[-1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        blobs[-2].write_bytes(blobs[-2].read_bytes()[:-1])
        (self.bundle / "blobs/sha256/extra").write_bytes(b"x")
        (self.bundle / "index.json").write_text("{}")
        self.assertEqual(self.findings(self.bundle, self.trust), {
            (self.place(blobs[0]), "blob-missing"), (self.place(blobs[-1]), "blob-altered"),
            (self.place(blobs[-2]), "blob-size"), ("blobs/sha256/extra", "blob-unlisted"),
            ("index.json", "file-altered")})

    def test_swapped(self):
        """Two blobs under each other's names are found."""
        blobs = sorted((self.bundle / "blobs/sha256").iterdir(), key=lambda x: x.stat().st_size)
        one, two = blobs[-1], blobs[-2]
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)
        self.assertEqual({x for x, _ in self.findings(self.bundle, self.trust)},
                         {self.place(one), self.place(two)})

    def test_symlink(self):
        """A link in place of a blob is not followed."""
        blob = self.biggest_blob(self.bundle)
        blob.rename(self.dir / "elsewhere")
        blob.symlink_to(self.dir / "elsewhere")
        self.assertEqual(self.findings(self.bundle, self.trust),
                         {(self.place(blob), "medium-unsafe-entry")})

    def test_altered_manifest(self):
        """A manifest that was changed after signing is found, and nothing else is looked at."""
        path = self.bundle / "manifest.json"
        path.write_text(path.read_text().replace('"sequence":7', '"sequence":8'))
        self.assertEqual(self.findings(self.bundle, self.trust), {("", "signature-invalid")})

    def test_no_signature(self):
        """A bundle without a signature is not verified."""
        (self.bundle / "manifest.json.minisig").unlink()
        self.assertEqual(self.findings(self.bundle, self.trust), {("", "signature-missing")})

    def test_wrong_key(self):
        """A signature by a key that is not trusted does not count."""
        self.key("other")
        self.assertEqual(self.findings(self.bundle, self.dir / "other.pub"),
                         {("", "signature-untrusted")})

    def test_threshold(self):
        """Two keys needed: one signature is too few, the second one by sign is enough."""
        second = self.key("second")
        trust = self.dir / "trust"
        trust.write_text("threshold 2\n" + "".join(
            f"key {(self.dir / x).read_text().splitlines()[1]} {x}\n"
            for x in ("owner.pub", "second.pub")))
        self.assertEqual(self.findings(self.bundle, trust), {("", "signature-threshold")})
        run("sign", "--sign-key", second, self.bundle)
        self.assertTrue((self.bundle / "manifest.json.1.minisig").exists())
        self.assertEqual(self.findings(self.bundle, trust), set())
        again = self.expect(6, "sign", "--sign-key", second, self.bundle)
        self.assertIn("already", again.stderr)

    def test_no_bundle(self):
        """What is no bundle, or has no trust to be checked by, is an input error."""
        self.expect(4, "verify", "--trust", self.trust, self.dir / "nothing")
        self.expect(4, "verify", "--trust", self.dir / "nothing", self.bundle)
        self.expect(2, "verify", self.bundle)
        (self.dir / "empty.bundle").mkdir()
        self.assertEqual(self.findings(self.dir / "empty.bundle", self.trust),
                         {("", "bundle-layout")})

    def test_text(self):
        """For people: what, where, and a last line that says so."""
        blob = self.biggest_blob(self.bundle)
        blob.unlink()
        done = self.expect(3, "verify", "--trust", self.trust, self.bundle)
        self.assertIn(self.place(blob), done.stdout)
        self.assertIn("NOT VERIFIED: 1 thing is wrong", done.stdout.splitlines()[-1])

    def test_trust_from_the_command_line(self):
        """A public key itself is trust enough."""
        key = self.trust.read_text().splitlines()[1]
        self.assertEqual(self.findings(self.bundle, key), set())


if __name__ == "__main__":
    unittest.main()
