"""The parts that the virtual device is made of: a root file system and a kernel from Debian packages, GRUB, hostapp images.
Everything is cached below the build directory, under a name that is a hash of what it is made from."""
from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUEST = HERE.parent / "guest"
SOURCE = HERE.parent.parent.parent
sys.path.insert(0, str(SOURCE / "tests/lab"))
from ou_lab import images  # noqa: E402
from ou_lab.device import BUILD  # noqa: E402

CACHE = BUILD.parent / "device-cache"
SLUG = "generic-amd64"
PACKAGES = ["systemd-sysv", "udev", "dbus", "docker.io", "python3", "kmod", "procps", "curl", "util-linux"]
DROPPED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl", "usr/share/info", "usr/share/i18n",
           "usr/share/zoneinfo", "usr/lib/x86_64-linux-gnu/perl-base", "usr/share/bash-completion", "usr/lib/udev/hwdb.bin",
           "usr/lib/udev/hwdb.d", "var/lib/apt", "var/cache", "var/lib/dpkg", "usr/bin/docker", "usr/bin/ctr", "usr/sbin/dnet",
           "usr/bin/dnet", "usr/sbin/ovrouter", "usr/bin/ovrouter", "usr/bin/containerd-shim", "usr/bin/containerd-shim-runc-v1",
           "usr/bin/perl", "usr/bin/perl5.36.0", "usr/lib/x86_64-linux-gnu/perl", "usr/share/perl5",
           "usr/lib/x86_64-linux-gnu/libperl.so.5.36", "usr/lib/x86_64-linux-gnu/libperl.so.5.36.0", "usr/share/lintian",
           "usr/share/zsh", "usr/share/debconf", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/pydoc_data",
           "usr/lib/python3.11/distutils", "usr/lib/python3.11/unittest", "usr/lib/x86_64-linux-gnu/gconv", "boot", "usr/lib/python3.11/test", "dev",
           "etc/systemd/system/multi-user.target.wants/docker.service", "etc/systemd/system/sockets.target.wants/docker.socket",
           "usr/lib/systemd/system/docker.service", "usr/lib/systemd/system/docker.socket",
           "usr/lib/systemd/system/containerd.service", "usr/lib/systemd/system/apt-daily.timer",
           "usr/lib/systemd/system/apt-daily-upgrade.timer", "usr/lib/systemd/system/dpkg-db-backup.timer",
           "usr/lib/systemd/system/e2scrub_all.timer", "usr/lib/systemd/system/fstrim.timer"]
MODULES = ["virtio_blk", "virtio_pci", "virtio_console", "ext4", "overlay", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii",
           "nls_utf8", "usb-storage", "uas", "xhci-pci", "sd_mod", "crc32c_generic", "loop", "autofs4"]
GRUB_MODULES = ["part_gpt", "fat", "ext2", "search", "search_label", "linux", "loadenv", "test", "echo", "normal", "configfile",
                "reboot", "boot"]
GRUB_CFG = """# STAND-IN for balenaOS's grub.cfg (balenaos.md section 3): anything but 2 boots rootB; one unconfirmed boot.
load_env
if [ "$resin_root_part" = "2" ]; then slot=2; else slot=3; fi
if [ "$upgrade_available" = "1" ]; then
  if [ "$bootcount" = "0" -o -z "$bootcount" ]; then
    bootcount=1
    save_env bootcount
  elif [ "$slot" = "2" ]; then slot=3; else slot=2; fi
fi
load_env --file ${prefix}/grub_extraenv
if [ "$slot" = "2" ]; then label=resin-rootA; else label=resin-rootB; fi
search --no-floppy --label --set=root $label
linux /boot/vmlinuz ou.slot=$slot console=ttyS0 panic=5 loglevel=4 apparmor=0 systemd.show_status=false $extra_os_cmdline
initrd /boot/initrd
boot
reboot
"""


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def cached(name: str, key: str, make, cache: Path | None = None) -> Path:
    """The directory name-key in the cache, made by make(directory) if it is not there. Tests that run at the same time may ask
    for the same one."""
    target = (cache or CACHE) / f"{name}-{key}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(target)
    return target


def run(*command: object, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done


def tar_of(directory: Path) -> bytes:
    """All of a directory, the same bytes for the same content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(directory.rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(directory)))
            info.mtime, info.uid, info.gid, info.uname, info.gname = 1_600_000_000, 0, 0, "", ""
            if info.isreg():
                with open(path, "rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return out.getvalue()


def kernel() -> Path:
    """DIR/vmlinuz and DIR/lib/modules/VERSION with the few modules that the machine needs."""
    def make(target: Path) -> None:
        names = run("apt-cache", "depends", "linux-image-amd64").stdout.split()
        package = next(name for name in names if name.startswith("linux-image-6"))
        run("apt-get", "download", package, cwd=target)
        unpacked = target / "unpacked"
        run("dpkg-deb", "-x", next(target.glob("*.deb")), unpacked)
        version = next((unpacked / "lib/modules").iterdir()).name
        run("depmod", "-b", unpacked, version)
        wanted: set[str] = set()
        for module in MODULES:
            for line in run("modprobe", "-d", unpacked, "-S", version, "--show-depends", module).stdout.splitlines():
                if line.startswith("insmod "):
                    wanted.add(line.split()[1])
        for path in wanted:
            copy = target / "lib/modules" / version / Path(path).relative_to(unpacked / "lib/modules" / version)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            shutil.copy2(unpacked / "lib/modules" / version / name, target / "lib/modules" / version / name)
        run("depmod", "-b", target, version)
        shutil.copy2(next((unpacked / "boot").glob("vmlinuz-*")), target / "vmlinuz")
        shutil.rmtree(unpacked)
        next(target.glob("*.deb")).unlink()
    return cached("kernel", digest(MODULES, 1), make)


def root_tree() -> Path:
    """DIR/root: the Debian part of the host OS."""
    def make(target: Path) -> None:
        sources = [path for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
                   if path.exists()][:1]
        run("mmdebstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), "bookworm", target / "root.tar", *sources)
        (target / "root").mkdir()
        run("tar", "-C", target / "root", "-xf", target / "root.tar", "--exclude=./dev/*")
        (target / "root.tar").unlink()
        for name in DROPPED:
            path = target / "root" / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.is_symlink() or path.exists():
                path.unlink()
        (target / "root/dev").mkdir(exist_ok=True)
    return cached("root", digest(PACKAGES, DROPPED, 2), make)


def initramfs(target: Path) -> None:
    """busybox, the modules for the disk, and the stand-in for mobynit."""
    tree = target.parent / "initramfs"
    for name in ("bin", "proc", "sys", "dev", "modules"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2("/bin/busybox", tree / "bin/busybox")
    shutil.copy2(GUEST / "initramfs-init", tree / "init")
    (tree / "init").chmod(0o755)
    modules = kernel() / "lib/modules"
    version = next(modules.iterdir()).name
    order = []
    for module in ("crc32c_generic", "virtio_pci", "virtio_blk", "ext4", "overlay"):
        for line in run("modprobe", "-d", kernel(), "-S", version, "--show-depends", module).stdout.splitlines():
            name = Path(line.split()[1]).name if line.startswith("insmod ") else ""
            if name and name not in order:
                shutil.copy2(line.split()[1], tree / "modules" / name)
                order.append(name)
    (tree / "modules.order").write_text("\n".join(order) + "\n")
    with open(target, "wb") as out:
        listing = subprocess.run(["find", ".", "-print0"], cwd=tree, capture_output=True, check=True).stdout
        archive = subprocess.run(["cpio", "--null", "-o", "--format=newc", "--quiet"], cwd=tree, input=listing,
                                 capture_output=True, check=True).stdout
        out.write(subprocess.run(["gzip", "-1n"], input=archive, capture_output=True, check=True).stdout)
    shutil.rmtree(tree)


def boot_tree(directory: Path, version: str) -> None:
    """/boot (the volume) and /resin-boot (what the hook copies to the boot partition) of a hostapp."""
    boot, resin = directory / "boot", directory / "resin-boot"
    (resin / "EFI/BOOT").mkdir(parents=True)
    boot.mkdir()
    shutil.copy2(kernel() / "vmlinuz", boot / "vmlinuz")
    initramfs(boot / "initrd")
    (boot / "init").write_text("#!/bin/sh\n# STAND-IN: mobynit lives in the initramfs here.\n")
    (boot / "init").chmod(0o755)
    run("grub-mkimage", "-O", "x86_64-efi", "-p", "/EFI/BOOT", "-o", resin / "EFI/BOOT/BOOTX64.EFI", *GRUB_MODULES)
    (resin / "EFI/BOOT/grub.cfg").write_text(GRUB_CFG)
    head = "# GRUB Environment Block\n"
    for name, text in (("grubenv", "resin_root_part=2\nupgrade_available=0\nbootcount=0\n"), ("grub_extraenv", "extra_os_cmdline=\n")):
        (resin / "EFI/BOOT" / name).write_text((head + text).ljust(1024, "#"))
    (resin / "device-type.json").write_text(f'{{"slug":"{SLUG}"}}\n')
    (resin / "balena-image").write_text("")
    (resin / "os-release").write_text(os_release(version))


def os_release(version: str, slug: str = SLUG) -> str:
    return (f'ID="balena-os"\nNAME="balenaOS"\nVERSION="{version}"\nVERSION_ID="{version}"\nMETA_BALENA_VERSION="{version}"\n'
            f'PRETTY_NAME="stand-in for balenaOS {version}"\nSLUG="{slug}"\n')


def guest_tree(directory: Path) -> None:
    """The stand-ins, and the units that are started with the machine."""
    binaries, units = directory / "usr/bin", directory / "etc/systemd/system"
    library = directory / "usr/lib/standin"
    for path in (binaries, units, library, directory / "usr/libexec"):
        path.mkdir(parents=True)
    for path in sorted((GUEST / "bin").iterdir()):
        target = library if path.suffix == ".py" else directory / "usr/libexec" if path.name == "safe_reboot" else binaries
        shutil.copy2(path, target / path.name)
        (target / path.name).chmod(0o755)
    (binaries / "hostapp-update-hooks-v2").symlink_to("hostapp-update-hooks")
    for path in sorted((GUEST / "units").iterdir()):
        shutil.copy2(path, units / path.name)
        for line in path.read_text().splitlines():
            if line.startswith("WantedBy="):
                wants = units / (line.split("=")[1] + ".wants")
                wants.mkdir(exist_ok=True)
                (wants / path.name).symlink_to(f"../{path.name}")
    for name in ("getty@tty1.service", "systemd-timesyncd.service", "systemd-resolved.service", "systemd-networkd.service",
                 "systemd-random-seed.service", "systemd-update-utmp.service", "containerd.service", "docker.service", "docker.socket",
                 "e2scrub_reap.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-hwdb-update.service",
                 "systemd-journal-catalog-update.service", "ldconfig.service", "systemd-update-utmp-runlevel.service",
                 # Nobody logs in, and each unit costs the emulated machine half a second.
                 "systemd-logind.service", "systemd-user-sessions.service", "getty.target", "serial-getty@ttyS0.service",
                 "modprobe@.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
                 "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"):
        (units / name).symlink_to("/dev/null")
    version = next((kernel() / "lib/modules").iterdir()).name
    shutil.copytree(kernel() / "lib/modules" / version, directory / "usr/lib/modules" / version)
    for name in ("mnt/boot", "mnt/state", "mnt/data", "mnt/sysroot/active", "mnt/sysroot/inactive",
                 "etc/balena-supervisor", "etc/systemd/journald.conf.d"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/systemd/journald.conf.d/device.conf").write_text("[Journal]\nStorage=volatile\nForwardToConsole=no\n")
    (directory / "etc/hostname").write_text("standin\n")


VARIANTS = {
    "good": {},
    # No init: the initramfs restarts the machine, and the bootloader falls back.
    "no-boot": {"usr/lib/systemd/.wh.systemd": b""},
    "unhealthy": {"usr/bin/rollback-board-healthcheck": b"#!/bin/sh\nexit 1\n"},
}


def hostapp(version: str, variant: str = "good") -> Path:
    """The archive of a hostapp image. Versions share all but the boot files and a small layer on top."""
    guest = {str(path.relative_to(GUEST)): path.read_bytes() for path in sorted(GUEST.rglob("*")) if path.is_file()}
    key = digest(version, variant, VARIANTS[variant], guest, GRUB_CFG, GRUB_MODULES, MODULES, PACKAGES, DROPPED, 3)

    def make(target: Path) -> None:
        base = cached("base-layer", digest(PACKAGES, DROPPED, 2),
                      lambda directory: (directory / "layer.tar").write_bytes(tar_of(root_tree() / "root")))
        guest_tree(target / "guest")
        boot_tree(target / "boot", version)
        top = {"usr/lib/os-release": os_release(version).encode(), **VARIANTS[variant]}
        layers = [(base / "layer.tar").read_bytes(), tar_of(target / "guest"), tar_of(target / "boot"), images.file_layer(top)]
        images.write_archive(target / "hostapp.tar", layers, {"Cmd": ["/bin/sh"]})
        shutil.rmtree(target / "guest")
        shutil.rmtree(target / "boot")
    return cached("hostapp", key, make) / "hostapp.tar"


def supervisor_image(version: str, architecture: str = "amd64") -> Path:
    """The stand-in supervisor as an image; it borrows the host's Python."""
    lab = SOURCE / "tests/lab/ou_lab"
    files = {f"app/ou_lab/{name}": (lab / name).read_bytes() for name in ("engine.py", "preloaded_apps.py", "standin_supervisor.py")}
    files["app/ou_lab/__init__.py"] = b""

    def make(target: Path) -> None:
        images.write_archive(target / "supervisor.tar", [images.file_layer(files)], {
            "Entrypoint": ["/usr/bin/python3", "/app/ou_lab/standin_supervisor.py", "--host",
                           "--database", "/mnt/data/resin-data/balena-supervisor/database.sqlite",
                           "--engine", "/run/balena-engine.sock", "--port", "48484",
                           "--locks", "/tmp/balena-supervisor/services", "--config-json", "/mnt/boot/config.json"],
            "Env": [f"SUPERVISOR_VERSION={version}", "PYTHONUNBUFFERED=1"]}, architecture)
    return cached("supervisor", digest(version, files, architecture), make) / "supervisor.tar"


def agent_image(trust: str) -> Path:
    """The agent as docker/Dockerfile.template makes it: the program, the libraries it needs, the owner's keys."""
    program = BUILD / "agent/offline-updater-agent"

    def make(target: Path) -> None:
        stripped = target / "agent"
        run("strip", "-o", stripped, program)
        files = {"usr/bin/offline-updater-agent": stripped.read_bytes(), "etc/offline-updater/trust": trust.encode()}
        for line in run("ldd", program).stdout.splitlines():
            library = next((word for word in line.split() if word.startswith("/")), None)
            if library:
                files[library.lstrip("/")] = Path(library).read_bytes()
        for name in ("run", "tmp", "proc", "sys", "dev"):
            files[f"{name}/.keep"] = b""
        images.write_archive(target / "agent.tar", [images.file_layer(files)], {
            "Entrypoint": ["/usr/bin/offline-updater-agent"], "Cmd": ["run"], "Env": ["PATH=/usr/bin"]})
        stripped.unlink()
    return cached("agent", digest(hashlib.sha256(program.read_bytes()).hexdigest(), trust, 1), make) / "agent.tar"


if __name__ == "__main__":
    print(hostapp(*(sys.argv[1:] or ["6.5.3"])), os.path.getsize(hostapp(*(sys.argv[1:] or ["6.5.3"]))))
