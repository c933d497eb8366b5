"""The virtual device: a balenaOS-shaped machine for QEMU, built from Debian packages."""
