"""Other programs read what bundle-tool makes, and it reads what they make."""

import json
import pathlib
import subprocess
import unittest

from bundles import ToolTest, docker_archive, layer_tar, noise, run, sha256

POLICY = '{"default":[{"type":"insecureAcceptAnything"}]}'


class Interoperation(ToolTest):

    def skopeo(self, *arguments):
        (self.dir / "policy.json").write_text(POLICY)
        subprocess.run(["skopeo", "--policy", self.dir / "policy.json", *map(str, arguments)],
                       check=True, capture_output=True, timeout=200)

    def test_skopeo_reads_a_bundle(self):
        """skopeo copies each service out of a bundle with the same image ID."""
        bundle = self.create()
        for service, image_id in (("main", self.main_id), ("db", self.db_id)):
            out = self.dir / ("out-" + service)
            self.skopeo("copy", f"oci:{bundle}:{service}", f"dir:{out}")
            manifest = json.loads((out / "manifest.json").read_text())
            self.assertEqual(manifest["config"]["digest"], image_id)
            self.assertEqual("sha256:" + sha256((out / image_id[7:]).read_bytes()), image_id)

    def test_skopeo_archives_are_sources(self):
        """oci-archive and docker-archive files by skopeo give the same image IDs and layers."""
        self.skopeo("copy", f"oci:{self.dir}/db:latest", f"oci-archive:{self.dir}/db.oci:latest")
        self.skopeo("copy", f"docker-archive:{self.dir}/main.tar",
                    f"docker-archive:{self.dir}/main2.tar:shop/main:7")
        one = json.loads(run("inspect", "--json", self.create("one.bundle")).stdout)
        arguments = self.create_arguments("two.bundle")
        arguments[-1] = f"db=oci-archive:{self.dir}/db.oci"
        arguments[-3] = f"main=docker-archive:{self.dir}/main2.tar"
        run(*arguments)
        two = json.loads(run("inspect", "--json", self.dir / "two.bundle").stdout)
        for service in ("main", "db"):
            self.assertEqual(one["services"][service]["image_id"],
                             two["services"][service]["image_id"])
            self.assertEqual(one["services"][service]["image"], two["services"][service]["image"])

    def test_minisign_verifies(self):
        """minisign accepts our signatures by our key files."""
        bundle = self.create("a.bundle", self.key())
        subprocess.run(["minisign", "-Vm", bundle / "manifest.json", "-p", self.dir / "owner.pub"],
                       check=True, capture_output=True, timeout=60)

    def test_minisign_signs(self):
        """We accept minisign's signatures by its own keys, and sign with them."""
        subprocess.run(["minisign", "-G", "-W", "-p", self.dir / "m.pub", "-s", self.dir / "m.key"],
                       check=True, capture_output=True, timeout=60)
        bundle = self.create()
        subprocess.run(["minisign", "-Sm", bundle / "manifest.json", "-s", self.dir / "m.key"],
                       check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(self.findings(bundle, self.dir / "m.pub"), set())
        other = self.create("b.bundle", self.dir / "m.key")
        self.assertEqual(self.findings(other, self.dir / "m.pub"), set())

    def test_stored_media_types(self):
        """OCI manifests name each layer's encoding as it is stored."""
        docker_archive(self.dir / "main.tar", [self.base, layer_tar({"n": noise(9, 500_000)})])
        bundle = self.create()
        encodings = {"zstd": "tar+zstd", "gzip": "tar+gzip", "none": "tar"}
        blobs = {}
        for blob in pathlib.Path(bundle, "blobs/sha256").iterdir():
            magic = blob.read_bytes()[:4]
            blobs[blob.name] = ("zstd" if magic == b"\x28\xb5\x2f\xfd"
                                else "gzip" if magic[:2] == b"\x1f\x8b" else "none")
        for entry in json.loads((bundle / "index.json").read_text())["manifests"]:
            document = json.loads((bundle / "blobs/sha256" / entry["digest"][7:]).read_text())
            for layer in document["layers"]:
                kind = encodings[blobs[layer["digest"][7:]]]
                self.assertEqual(layer["mediaType"], "application/vnd.oci.image.layer.v1." + kind)


if __name__ == "__main__":
    unittest.main()
