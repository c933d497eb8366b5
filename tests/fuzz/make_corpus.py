#!/usr/bin/python3
"""Makes the first inputs of the fuzz targets: small file systems, partition tables, archives and
records, the same bytes each time. Usage: make_corpus.py DIRECTORY"""
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
from base64 import b64encode

UUID = '01234567-89ab-cdef-0123-456789abcdef'
SHAPES = {
    'plain': ['-b', '1024', '-O', '^metadata_csum,^64bit,^has_journal,^resize_inode'],
    'checksums': ['-b', '1024', '-O', 'metadata_csum,64bit,^has_journal,^resize_inode'],
    'mapped': ['-b', '1024', '-O', '^metadata_csum,^64bit,^extent,^has_journal'],
    'large-blocks': ['-b', '4096', '-O', '^metadata_csum,^has_journal,^resize_inode'],
}


def run(command, text=None):
    environment = {**os.environ, 'E2FSPROGS_FAKE_TIME': '1700000000', 'LC_ALL': 'C'}
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, env=environment)


def make_tree(root):
    directory = root / 'directory'
    directory.mkdir(parents=True)
    (root / 'one').write_text('one' * 2000)
    for i in range(60):
        (directory / str(i)).write_text('')
    (root / 'link').symlink_to('l' * 100)
    (root / 'short').symlink_to('one')
    (directory / 'deep').mkdir()
    with open(root / 'sparse', 'wb') as file:
        file.seek(300000)
        file.write(b'end')
    for path in [*root.rglob('*'), root]:
        os.utime(path, (1700000000, 1700000000), follow_symlinks=False)


def file_systems(out, scratch):
    make_tree(scratch / 'tree')
    for name, options in SHAPES.items():
        image = out / name
        size = 1024 if name == 'large-blocks' else 256
        run(['mke2fs', '-q', '-F', '-t', 'ext4', '-U', UUID, '-E', f'hash_seed={UUID}', '-N', '96',
             *options, '-d', str(scratch / 'tree'), str(image), f'{size}k'])
        run(['e2fsck', '-fn', str(image)])


def partition_tables(out):
    tables = {
        'mbr': 'label: dos\nlabel-id: 0x1\nstart=64,size=64,type=c\nstart=128,size=200\n',
        'logical': 'label: dos\nlabel-id: 0x1\nstart=64,size=32\nstart=128,size=350,type=5\n'
                   'start=160,size=32\nstart=224,size=32\n',
        'gpt': f'label: gpt\nlabel-id: {UUID}\nfirst-lba: 34\n'
               f'start=64,size=64,name=resin-boot,uuid={UUID[:-1]}0\n'
               f'start=160,size=64,name=resin-data,uuid={UUID[:-1]}1\n',
    }
    for name, text in tables.items():
        (out / name).write_bytes(bytes(256 * 1024))
        run(['sfdisk', '--no-reread', '--no-tell-kernel', str(out / name)], text)


def archives(out):
    for name, form in ('pax', tarfile.PAX_FORMAT), ('gnu', tarfile.GNU_FORMAT), ('ustar', tarfile.USTAR_FORMAT):
        with tarfile.open(out / name, 'w', format=form) as archive:
            for kind in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                         tarfile.FIFOTYPE):
                entry = tarfile.TarInfo('d/' * (45 if form != tarfile.USTAR_FORMAT else 10) + 'name')
                entry.type, entry.linkname, entry.mtime = kind, 'target', 1.5 if form == tarfile.PAX_FORMAT else 1
                if form == tarfile.PAX_FORMAT:
                    entry.pax_headers = {'SCHILY.xattr.user.a': 'b', 'path': 'ä' * 60}
                entry.size = 700 if kind == tarfile.REGTYPE else 0
                archive.addfile(entry, io.BytesIO(b'x' * entry.size))


def crc64(content):
    """CRC-64 (ISO 3309), as tar-split has it."""
    value = (1 << 64) - 1
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xD800000000000000 if value & 1 else 0)
    return (~value & (1 << 64) - 1).to_bytes(8, 'big')


def base64(content):
    return b64encode(content).decode()


def records(out):
    header = tarfile.TarInfo('file').tobuf(tarfile.USTAR_FORMAT)
    lines = [{'type': 2, 'payload': base64(header), 'position': 0},
             {'type': 1, 'name': 'file', 'size': 600, 'payload': base64(crc64(bytes(600))), 'position': 1},
             {'type': 2, 'payload': base64(bytes(424) + header), 'position': 2},
             {'type': 1, 'name': 'empty', 'payload': base64(crc64(b'')), 'position': 3},
             {'type': 2, 'payload': base64(bytes(1024)), 'position': 4}]
    text = ''.join(json.dumps(line, separators=(',', ':')) + '\n' for line in lines)
    (out / 'layer').write_text(text)
    raw = {'type': 1, 'name_raw': base64(b'\xff/../x'), 'size': 1, 'payload': '', 'position': 0}
    (out / 'raw-name').write_text(json.dumps(raw) + '\n')


def main():
    out = pathlib.Path(sys.argv[1])
    makers = {'fuzz_partition_table': partition_tables, 'fuzz_tar_reader': archives, 'fuzz_tar_split': records,
              'fuzz_ext_file_system': lambda folder: file_systems(folder, out / 'scratch')}
    for target, make in makers.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)


main()
