"""Writes of every kind, a whole tree as a client with the super user's rights sees it, and a raw session that a server must keep for a client that
does not come back by itself. Needs kazoo on the path."""
import random, socket, struct
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.security import ACL, Id

STAT = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner", "dataLength", "numChildren", "pzxid")


def client(port):
    zk = KazooClient("127.0.0.1:%d" % port, timeout=20, auth_data=[("digest", "super:test")])
    zk.start(20)
    return zk


def work(port, seed, count):
    """Some of every write, from a seed; what fails is wanted too."""
    rnd, zk = random.Random(seed), client(port)
    top = "/w%d" % seed
    zk.create(top, b"top")
    acls = [[ACL(31, Id("world", "anyone"))], [ACL(1, Id("world", "anyone")), ACL(31, Id("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="))], [ACL(31, Id("ip", "127.0.0.0/8"))]]
    datas = [b"", b"x", bytes(range(256)), b"long" * 2000, "\u00e4\u4e2d".encode()]
    paths = [top]
    for i in range(count):
        path = rnd.choice(paths)
        try:
            kind = rnd.randrange(10)
            if kind < 4:
                made = zk.create("%s/%s%d" % (path, rnd.choice(["n", "a b ", "\u00e4"]), i), rnd.choice(datas), rnd.choice(acls), sequence=rnd.random() < 0.3)
                paths.append(made)
            elif kind < 6:
                zk.set(path, rnd.choice(datas), rnd.choice([-1, -1, 0, 5]))
            elif kind == 6 and path != top:
                zk.delete(path)
                paths.remove(path)
            elif kind == 7:
                zk.set_acls(path, rnd.choice(acls))
            else:
                t = zk.transaction()
                t.create(path + "/t%d" % i, b"t")
                t.set_data(path + "/t%d" % i, b"u")
                if rnd.random() < 0.3:
                    t.check(path, 99)
                t.commit()
        except KazooException:
            pass
    zk.stop()
    zk.close()


def dump(port):
    """{path: (data or None, stat, ACL)} of every node."""
    zk, out, todo = client(port), {}, ["/"]
    try:
        while todo:
            path = todo.pop()
            data, stat = zk.get(path)
            acl, _ = zk.get_acls(path)
            out[path] = (data, tuple(stat), tuple((a.perms, a.id.scheme, a.id.id) for a in acl))
            todo += [path.rstrip("/") + "/" + c for c in zk.get_children(path)]
    finally:
        zk.stop()
        zk.close()
    return out


def differences(a, b):
    """What differs, in words; nothing when they are equal."""
    out = ["only in the first: %s" % p for p in sorted(set(a) - set(b))] + ["only in the second: %s" % p for p in sorted(set(b) - set(a))]
    for p in sorted(set(a) & set(b)):
        for what, x, y in zip(("data", "stat", "ACL"), a[p], b[p]):
            if x != y:
                if what == "stat":
                    x, y = [(k, v) for k, v, w in zip(STAT, x, y) if v != w], [(k, w) for k, v, w in zip(STAT, x, y) if v != w]
                out.append("%s of %s: %r / %r" % (what, p, x, y))
    return "\n  ".join(out[:20])


class Raw:
    """A session by hand: made once, taken up again with its id and password."""

    def __init__(self, port, timeout=90000):
        self.timeout, self.id, self.password, self.xid = timeout, 0, bytes(16), 0
        self.attach(port)

    def attach(self, port):
        """True when the server knows the session."""
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self._send(struct.pack(">iqiqi16s?", 0, 0, self.timeout, self.id, 16, self.password, False))
        reply = self._receive()
        _, timeout, session, _, password = struct.unpack(">iiqi16s", reply[:36])
        if timeout > 0:
            self.id, self.password = session, password
        return timeout > 0

    def create_ephemeral(self, path):
        self.xid += 1
        text = path.encode()
        self._send(struct.pack(">iii%dsi1s" % len(text), self.xid, 1, len(text), text, 1, b"x")
                   + struct.pack(">iii5si6si", 1, 31, 5, b"world", 6, b"anyone", 1))
        return struct.unpack(">iqi", self._receive()[:16])[2] == 0

    def _send(self, payload):
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def _receive(self):
        n = struct.unpack(">i", self._exactly(4))[0]
        return self._exactly(n)

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            part = self.socket.recv(n - len(out))
            if not part:
                raise OSError("the server closed the connection")
            out += part
        return out
