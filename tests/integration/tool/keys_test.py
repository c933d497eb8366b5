"""bundle-tool key generate and the passwords of keys."""

import json
import os
import pty
import stat
import subprocess
import unittest

from bundles import PASSWORD, TOOL, ToolTest, run


class Keys(ToolTest):

    def test_files(self):
        """The secret key is for its owner alone; neither file is ever overwritten."""
        self.key()
        mode = stat.S_IMODE((self.dir / "owner.key").stat().st_mode)
        self.assertEqual(mode, 0o600)
        before = (self.dir / "owner.key").read_bytes()
        self.expect(6, "key", "generate", self.dir / "owner", "--no-password")
        self.assertEqual((self.dir / "owner.key").read_bytes(), before)
        (self.dir / "other.pub").write_text("x")
        self.expect(6, "key", "generate", self.dir / "other", "--no-password")
        self.assertFalse((self.dir / "other.key").exists())

    def test_password_from_file_and_environment(self):
        """An encrypted key signs with its password from a file or the environment, else not."""
        (self.dir / "password").write_text("let me in\nsecond line\n")
        run("key", "generate", self.dir / "owner", "--password-file", self.dir / "password")
        key = self.dir / "owner.key"
        self.create("a.bundle", key, env={PASSWORD: "let me in"})
        run(*self.create_arguments("b.bundle", key), "--password-file", self.dir / "password")
        wrong = self.expect(7, *self.create_arguments("c.bundle", key), env={PASSWORD: "no"})
        self.assertIn("owner.key", wrong.stderr)
        none = self.expect(7, *self.create_arguments("c.bundle", key), start_new_session=True)
        self.assertIn("--password-file", none.stderr)
        self.assertFalse((self.dir / "c.bundle").exists())
        self.assertEqual(self.findings(self.dir / "b.bundle", self.dir / "owner.pub"), set())

    def test_empty_password(self):
        """An empty password is no password."""
        self.expect(7, "key", "generate", self.dir / "owner", env={PASSWORD: ""})
        self.assertEqual(list(self.dir.glob("owner*")), [])

    def test_password_on_a_terminal(self):
        """The password is asked for twice, is not shown, and decrypts the key."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(TOOL, [TOOL, "key", "generate", str(self.dir / "owner")])
        shown = b""
        for prompt in (b"new key: ", b"again: "):
            while prompt not in shown:
                shown += os.read(terminal, 1000)
            os.write(terminal, b"swordfish\n")
        try:
            while part := os.read(terminal, 1000):
                shown += part
        except OSError:
            pass  # the other end is closed
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, shown)
        os.close(terminal)
        self.assertNotIn(b"swordfish", shown)
        self.create("a.bundle", self.dir / "owner.key", env={PASSWORD: "swordfish"})

    def test_same_key_twice(self):
        """One key given twice is refused rather than counted twice."""
        key = self.key()
        self.expect(2, *self.create_arguments("a.bundle", key), "--sign-key", key)

    def test_minisign_takes_an_encrypted_key(self):
        """minisign signs with our encrypted key."""
        run("key", "generate", self.dir / "owner", env={PASSWORD: "pass"})
        bundle = self.create()
        subprocess.run(["minisign", "-Sm", bundle / "manifest.json", "-s", self.dir / "owner.key"],
                       input=b"pass\n", check=True, capture_output=True, timeout=100)
        self.assertEqual(self.findings(bundle, self.dir / "owner.pub"), set())

    def test_help(self):
        """Every command has help with an example; the program's own lists the exit status."""
        for command in (["key", "generate"], ["create"], ["sign"], ["verify"], ["inspect"], ["copy"],
                        ["identity", "keygen"], ["identity", "open"]):
            text = run(*command, "--help").stdout
            self.assertIn("bundle-tool " + " ".join(command), text)
            self.assertIn("Example", text)
        text = run("--help").stdout
        self.assertIn("Exit status", text)
        self.assertEqual(self.expect(2).stdout, "")
        error = json.loads(self.expect(2, "verify", "--json").stdout)["error"]
        self.assertEqual(error["code"], 2)


if __name__ == "__main__":
    unittest.main()
