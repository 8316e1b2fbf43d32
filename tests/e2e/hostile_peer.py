#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hostile_peer.py - a peer with a good certificate that does not keep to the protocol.

usage: hostile_peer.py CASE ADDRESS PORT

Connects with the certificate of the host that it runs on, says something wrong (the frames are
described in src/wire/frame.h), and prints what the other side answers: "error CODE: MESSAGE" for an
ERROR frame, "closed" when it only hangs up, "reply" when it takes it for good, "silence" when
nothing happens for a while.
"""

import json
import os
import re
import socket
import ssl
import struct
import sys

HELLO, CALL, REPLY, ERROR, DATA, END = range(1, 7)
TLS = "/etc/reberth/"
HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/wire/message.h")
PROTOCOL = int(re.search(r"RB_PROTOCOL\s+(\d+)", open(HEADER).read()).group(1))


def frame(kind, payload, magic=b"RBTH", version=1, flags=0, length=None, rest=0):
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return struct.pack(">4sBBHII", magic, version, kind, flags,
                       len(payload) if length is None else length, rest) + payload


def hello(**changes):
    value = {"protocol": PROTOCOL, "version": "0.1.0", "node": socket.gethostname(),
             "boot_id": open("/proc/sys/kernel/random/boot_id").read().strip()}
    value.update(changes)
    return frame(HELLO, value)


def call(verb, **arguments):
    return frame(CALL, {"do": verb, **arguments})


OFFER = {"id": "0123456789abcdef", "container": "x", "source_id": "y"}


def offer_bind(number, source, how="copied", then=()):
    """an offer, and what follows whatever is answered"""
    bind = {"source": source, "destination": "/x", "rw": True, "how": how, "kind": "folder"}
    return (hello() + call("prepare", id=os.urandom(8).hex(), container=f"x{number}", source_id="y", binds=[bind],
                           image={"id": "sha256:" + "0" * 64})
            + b"".join(then))


CASES = {
    # before the greeting
    "no-hello": call("query", id="0123456789abcdef"),
    "other-protocol": hello(protocol=999),
    "other-name": hello(node="h2"),
    "hello-not-json": frame(HELLO, b"\xff\xfe{"),
    "hello-deep": frame(HELLO, b"[" * 100000 + b"]" * 100000),
    # frames
    "bad-magic": hello() + frame(CALL, b"{}", magic=b"HTTP"),
    "bad-version": hello() + frame(CALL, b"{}", version=7),
    "bad-type": hello() + frame(99, b"{}"),
    "bad-flags": hello() + frame(CALL, b"{}", flags=1),
    "oversized": hello() + frame(CALL, b"{}", length=1 << 30),
    "oversized-data": hello() + frame(DATA, b"x", length=(256 << 10) + 1),
    "largest": hello() + frame(CALL, b'{"do": "query", "id": "' + b"x" * ((4 << 20) - 100) + b'"}'),
    "truncated": hello() + frame(CALL, b'{"do": "query"}', length=1000),
    "half-header": hello() + b"RBTH\x01",
    # calls
    "unknown-verb": hello() + call("format"),
    "verb-too-early": hello() + call("go"),
    "stream-too-early": hello() + frame(DATA, b"x" * 1000) + frame(END, b""),
    "reply-uncalled": hello() + frame(REPLY, {}),
    "empty-prepare": hello() + call("prepare"),
    "prepare-types": hello() + call("prepare", id=7, container=[], source_id={}, volumes=3, networks="x", image=1),
    "prepare-path": hello() + call("prepare", id="../../../../etc", container="x", source_id="y"),
    "query-path": hello() + call("query", id="../" * 100),
    "query-wildcard": hello() + call("query", id="*"),
    # bind mounts: the answer to what follows the offer counts
    "bind-docker": offer_bind(1, "/var/lib/docker/volumes", then=[call("create")]),
    "bind-dots": offer_bind(2, "/srv/../etc", then=[call("create")]),
    "bind-full": offer_bind(3, "/etc", then=[call("create")]),
    "bind-inside": offer_bind(4, "/etc/cron.d/new", how="inside", then=[call("create")]),
    "bind-unmade": offer_bind(5, "/etc", then=[call("tree", what="bind", name="/etc"), frame(END, b"")]),
    "bind-unoffered": offer_bind(6, "/srv/x", then=[call("tree", what="bind", name="/etc"), frame(END, b"")]),
    "push-empty": hello() + call("image-push"),
    "push-types": hello() + call("image-push", image={"id": 7, "layers": "x", "tags": 3}),
    "push-path": hello() + call("image-push", image={"id": "sha256:../../../../etc/passwd", "layers": ["x"], "tags": []}),
    "push-cut": hello() + call("image-push", image={"id": "sha256:" + "e" * 64, "layers": ["sha256:" + "d" * 64], "tags": []}),
    "push-names": hello() + call("image-push", image={"id": "sha256:" + "e" * 64, "layers": ["sha256:" + "d" * 64],
                                                      "tags": [f"x:{i}" for i in range(100000)]}),
    "ask-types": hello() + call("image-ask", image=[[]]),
    "ask-stream": hello() + call("image-ask", image={"id": "sha256:" + "e" * 64, "layers": []}) + frame(DATA, b"x" * 1000) + frame(END, b""),
    "null-bytes": hello() + frame(CALL, b'{"do": "query\\u0000", "id": "a\\u0000b"}'),
}


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def main():
    name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(TLS + "ca.pem")
    context.load_cert_chain(TLS + "node.pem", TLS + "node.key")
    sock = context.wrap_socket(socket.create_connection((address, port), timeout=5))
    try:
        sock.sendall(CASES[name])
        if name in ("truncated", "half-header"):
            sock.close()
            print("closed")
            return
        skip = 1 if name.startswith("bind-") else 0
        while True:
            _, _, kind, _, length, _ = struct.unpack(">4sBBHII", read_exactly(sock, 16))
            payload = read_exactly(sock, length)
            if kind == ERROR:
                error = json.loads(payload)
                print(f"error {error['code']}: {error['message']}")
                return
            if kind == REPLY and skip:
                skip -= 1
            elif kind == REPLY:
                print("reply " + payload.decode())
                return
    except TimeoutError:
        print("silence")
    except (EOFError, OSError):
        print("closed")


main()
