#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shared_fs.py - a file system that looks as if its server were elsewhere: type fuse.glusterfs

    shared_fs.py SOURCE DIRECTORY

Mounts it there, prints "mounted", and serves it until it is unmounted. It has one file, "here", and
nothing else; it cannot be written to. A FUSE server without a library: the protocol is
in the kernel's include/uapi/linux/fuse.h.
"""

import ctypes
import errno
import os
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 42
HEADER = struct.Struct("<IIQQIIIHH")  # length, opcode, unique, node, uid, gid, pid, ...
ROOT, FILE = 1, 2
CONTENT = b"it is here\n"
MS_RDONLY = 1


def attributes(node):
    mode, size, links = (0o040755, 0, 2) if node == ROOT else (0o100644, len(CONTENT), 1)
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, 1, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def entry(node):
    return struct.pack("<QQQQII", node, 0, 60, 60, 0, 0) + attributes(node)


def listing(offset):
    out = b""
    for number, (node, name, kind) in enumerate(((ROOT, b".", 4), (ROOT, b"..", 4), (FILE, b"here", 8)), 1):
        if number > offset:
            out += struct.pack("<QQII", node, number, len(name), kind) + name + b"\0" * (-len(name) % 8)
    return out


def answer(opcode, node, body):
    """what the kernel is told, or an errno"""
    if opcode == INIT:
        major, minor = struct.unpack_from("<II", body)
        return struct.pack("<IIIIHHIIHHI7I", 7, min(minor, 31), 65536, 0, 16, 12, 65536, 1, 1, 0, 0, *[0] * 7)
    if opcode == LOOKUP:
        return entry(FILE) if node == ROOT and body == b"here\0" else errno.ENOENT
    if opcode == GETATTR:
        return struct.pack("<QII", 60, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QII", 0, 0, 0)
    if opcode in (READ, READDIR):
        _, offset, size = struct.unpack_from("<QQI", body)
        return listing(offset) if opcode == READDIR else CONTENT[offset:offset + size]
    if opcode in (RELEASE, RELEASEDIR, FLUSH):
        return b""
    if opcode == STATFS:
        return struct.pack("<QQQQQIIII6I", 1, 0, 0, 2, 0, 4096, 255, 4096, 0, *[0] * 6)
    return errno.ENOSYS


def main():
    source, directory = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
    if libc.mount(source.encode(), directory.encode(), b"fuse.glusterfs", MS_RDONLY, options.encode()) < 0:
        sys.exit(f"cannot be mounted: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise
        length, opcode, unique, node = HEADER.unpack_from(request)[:4]
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        said = answer(opcode, node, request[HEADER.size:length])
        error, said = (said, b"") if isinstance(said, int) else (0, said)
        os.write(device, struct.pack("<IiQ", 16 + len(said), -error, unique) + said)


main()
