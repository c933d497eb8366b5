"""STAND-IN for balenaOS's update hooks (balenaos.md section 5), in path order: 1-bootfiles with its overwriting of
grubenv and grub_extraenv, 60-data-breadcrumb, 80-rollback, 99-resin-grub. The argument is the root of the OS whose boot
files are installed: "" is the running one."""
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, (sys.argv[1] if len(sys.argv) > 1 else "") + "/usr/lib/standin")
import standin
from standin import ALTBOOT, ALTBOOT_TRIGGERED, BOOT, HEALTH, HEALTH_TRIGGERED, remove, set_selector, touch

KEPT = {"config.json", "config.txt", "splash/balena-logo.png", "extra_uEnv.txt", "configfs.json", "hw_intfc.conf", "bootenv"}
RESERVE_BYTES = 524_288


def boot_files(source: Path) -> None:
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and str(path.relative_to(source)) not in KEPT]
    free = shutil.disk_usage(BOOT).free
    growth = sum(path.stat().st_size - ((BOOT / path.relative_to(source)).stat().st_size
                                        if (BOOT / path.relative_to(source)).exists() else 0) for path in files)
    if free - growth < RESERVE_BYTES:
        sys.exit("1-bootfiles: not enough space on the boot partition")
    for path in files:
        target = BOOT / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.standin")
        with open(temporary, "wb") as out:
            out.write(path.read_bytes())
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(target)
        os.sync()


def main() -> None:
    during_update = os.environ.get("DURING_UPDATE") == "1"
    boot_files(Path((sys.argv[1] if len(sys.argv) > 1 else "") + "/resin-boot"))
    Path("/mnt/data/remove_me_to_reset").touch()
    if during_update:
        touch(HEALTH)
        touch(ALTBOOT)
        remove(HEALTH_TRIGGERED, ALTBOOT_TRIGGERED)
        set_selector(standin.other_root(), True)
    else:
        remove(HEALTH, ALTBOOT, HEALTH_TRIGGERED, ALTBOOT_TRIGGERED)
        set_selector(standin.running_root(), False)
    print(f"hooks done, DURING_UPDATE={int(during_update)}", flush=True)


main()
