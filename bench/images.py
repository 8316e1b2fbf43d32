#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The images of bench/images, in the proportions of P1's: files of the Debian packages of this machine.

usage: images.py FOLDER SCALE

Makes, for each application, three images that `docker load` takes, as folders below FOLDER:

  base-NAME      one layer, what the target has
  NAME           that layer, and one for the application
  upgraded-NAME  the base, of whose bytes 5 % were replaced: whole files, by files that are in none of them

and prints {"NAME": {"image", "base", "layer", "upgraded"}}, bytes of the layers' archives. SCALE divides all sizes.
No file is in two layers.
"""

import hashlib
import json
import os
import random
import stat
import sys
import tarfile

# name, size of the whole and of the base, MB (P1, table I)
APPS = (("apache", 194.1, 117.2), ("nginx", 179.5, 163.2), ("mysql", 256.6, 139.3))
CHANGED = 0.05
EPOCH = 1700000000


def package_files():
    """Paths of all files of packages, package by package; what is linked to a second time comes once."""
    seen = set()
    info = "/var/lib/dpkg/info"
    for name in sorted(os.listdir(info)):
        if not name.endswith(".list"):
            continue
        with open(os.path.join(info, name), encoding="utf-8") as lines:
            for path in lines.read().splitlines():
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                key = status.st_dev, status.st_ino
                if stat.S_ISREG(status.st_mode) and status.st_size and key not in seen:
                    seen.add(key)
                    yield path, status.st_size


class Tar:
    """A tar file that grows, and its hash."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "wb")
        self.hash = hashlib.sha256()
        self.size = 0
        self.tar = tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT)

    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def add(self, name, source, size):
        member = tarfile.TarInfo(name.lstrip("/"))
        member.size, member.mtime, member.mode = size, EPOCH, 0o644
        with open(source, "rb") as content:
            self.tar.addfile(member, content)

    def close(self):
        self.tar.close()
        self.file.close()
        digest = self.hash.hexdigest()
        final = os.path.join(os.path.dirname(self.path), digest + ".tar")
        os.rename(self.path, final)
        self.path = final
        return digest


def take(files, size):
    """Files of `size` bytes in all; of the last one a part is left out."""
    taken = []
    while size > 0:
        path, length = next(files)
        length = min(length, size)
        taken.append((path, length))
        size -= length
    return taken


def make_layer(folder, files):
    """files: (name, where its content is, bytes of it)"""
    tar = Tar(os.path.join(folder, "new.tar"))
    for name, source, size in files:
        tar.add(name, source, size)
    return tar.close(), tar.size, tar.path


def make_image(folder, name, layers):
    image = os.path.join(folder, name)
    os.mkdir(image)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest for digest, _, _ in layers]},
        "history": [{"created": "2023-11-14T22:13:20Z"} for _ in layers]}).encode()
    digest = hashlib.sha256(config).hexdigest()
    with open(os.path.join(image, digest + ".json"), "wb") as file:
        file.write(config)
    for layer, _, path in layers:
        os.link(path, os.path.join(image, layer + ".tar"))
    with open(os.path.join(image, "manifest.json"), "w", encoding="utf-8") as file:
        json.dump([{"Config": digest + ".json", "RepoTags": [name + ":latest"],
                    "Layers": [layer + ".tar" for layer, _, _ in layers]}], file)


def upgrade(base, spare):
    """The base's files, some of them with the content of others, until those are 5 % of its bytes."""
    order = list(range(len(base)))
    random.Random(1).shuffle(order)
    left = CHANGED * sum(size for _, size in base)
    files = [(name, name, size) for name, size in base]
    for i in order:
        name, size = base[i]
        if size > left:
            continue
        # one file of spare content may be too short
        path, length = next(spare)
        while length < size:
            path, length = next(spare)
        files[i] = (name, path, size)
        left -= size
        if left < 1000:
            break
    return files


def main():
    folder, scale = sys.argv[1], float(sys.argv[2])
    files = package_files()
    parts = {}
    for name, whole, base in APPS:
        parts[name] = (take(files, int(base * 1e6 / scale)), take(files, int((whole - base) * 1e6 / scale)))
    out = {}
    for name, _, _ in APPS:
        base, app = parts[name]
        lower = make_layer(folder, [(path, path, size) for path, size in base])
        upper = make_layer(folder, [(path, path, size) for path, size in app])
        upgraded = make_layer(folder, upgrade(base, files))
        make_image(folder, "base-" + name, [lower])
        make_image(folder, name, [lower, upper])
        make_image(folder, "upgraded-" + name, [upgraded])
        out[name] = {"image": lower[1] + upper[1], "base": lower[1], "layer": upper[1], "upgraded": upgraded[1]}
        for path in {lower[2], upper[2], upgraded[2]}:
            os.unlink(path)
    json.dump(out, sys.stdout)


main()
