"""Ensembles of which each server may be Zebu or a real ZooKeeper 3.9.3, on loopback, and a client that writes without an end and keeps
the list of what was acknowledged. A server's kind may change from life to life; its data directory stays."""
import os, re, shutil, subprocess, sys, threading, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "real"))
import servers, tree
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

TICK = 500              # ms
CONTAINERS = ("znode.container.checkIntervalMs", 500)
WAIT = 30               # seconds for whatever is waited for
# What servers say when a peer's process ends, a socket breaks or a role is over: nothing that a packet made them say.
USUAL = {"java": re.compile("|".join((
    "EOFException", "Connection reset", "Broken pipe", "Socket closed", "Connection refused", "Interrupt", "ClosedChannel", "EndOfStreamException", "CancelledKeyException",
    "ZooKeeperServer not running",
    # The first transaction of any learner's connection, and of an epoch.
    r"Got zxid \w+ expected 0x1$", r"Got zxid \w+00000001 expected"))),
    "zebu": re.compile("|".join((
        "cannot connect; it is tried again", "the connection to the leader ended", "the leader cannot be reached", "not in contact with a quorum", "handed over as asked",
        "Epoch is missing: the epoch of the last transaction", "cut off at the leader's word",
        # A real server's snapshot may hold transactions that its digest, or its name, does not tell of.
        r"zebu::server: \d+ digests differ from the logged ones")))}
BAD = {"java": re.compile(r" (ERROR|FATAL) |Exception|(?i:WARN.*(digest|got zxid|unexpected|malformed|unknown|invalid|not match|commit|epoch|gap|ack))"),
       "zebu": re.compile("WARN|ERROR|panicked")}


def until(what, test, limit=WAIT):
    """Waits until `test` gives something, and gives it."""
    end = time.monotonic() + limit
    while True:
        got = test()
        if got:
            return got
        if time.monotonic() > end:
            raise RuntimeError("not within %d s: %s" % (limit, what))
        time.sleep(0.05)


class Member(servers.Server):
    """One server of an ensemble. `start` does not wait for a leader."""

    def __init__(self, sid, kind, data, port, lines, settings, observer):
        self.sid, self.lines, self.observer = sid, lines, observer
        super().__init__(kind, data, port, tickTime=TICK, initLimit=20, syncLimit=10, extendedTypesEnabled="true", **{CONTAINERS[0]: CONTAINERS[1]}, **settings)

    def command(self):
        with open(os.path.join(self.data, "myid"), "w") as f:
            f.write("%d\n" % self.sid)
        self.log = "%s.%s.log" % (self.data, self.kind)
        cfg, old = self.data + ".cfg", ""
        if os.path.exists(cfg):
            with open(cfg) as f:
                old = f.read()
        words = super().command()
        with open(cfg, "a") as f:
            f.write(self.lines + ("peerType=observer\n" if self.observer else ""))
        if "dynamicConfigFile" in old:
            # Its own by now: it knows a later configuration.
            with open(cfg, "w") as f:
                f.write(old)
        if self.kind == "zebu":
            return words
        # Java reads this from nowhere else.
        return ["java", "-Xmx128m", "-D%s=%s" % CONTAINERS] + words[2:]

    def start(self, extra=()):
        assert self.process is None, "server %d runs" % self.sid
        command = self.command() + list(extra)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def mode(self):
        """leader, follower or observer; nothing while it does not serve."""
        return self.word("srvr", r"Mode: (\w+)")

    def word(self, name, pattern):
        found = re.search(pattern, servers.word(self.port, name)) if self.process else None
        return found and found.group(1)

    def zxid(self):
        return int(self.word("srvr", r"Zxid: 0x(\w+)") or "0", 16)

    def digests(self):
        """{zxid: the tree's digest} of those that it remembers."""
        return dict(re.findall(r"^(\w+): (-?\w+)$", servers.word(self.port, "hash"), re.M))

    def wipe(self):
        """Its data, and what it knows of later configurations."""
        shutil.rmtree(os.path.join(self.data, "version-2"))
        os.remove(self.data + ".cfg")

    def mark(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def said(self, pattern, mark=0):
        """The lines of its log with the pattern."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, "rb") as f:
            f.seek(mark)
            return [l.rstrip() for l in f.read().decode("utf8", "replace").splitlines() if re.search(pattern, l)]


class Ensemble:
    """Servers 1, 2, …; {sid: kind}. A context manager that leaves none running. `joiners` are not in the others' lines; `apart`: each
    has a loopback address of its own, for a port that all of them have."""

    def __init__(self, name, kinds, observers=(), joiners=(), apart=False, **settings):
        top = servers.folder()
        ports = {s: (servers.free_port(), servers.free_port(), servers.free_port()) for s in kinds}
        self.lines = {s: "server.%d=127.0.0.%d:%d:%d:%s;127.0.0.1:%d" % (s, s if apart else 1, *ports[s][:2], "observer" if s in observers else "participant", ports[s][2]) for s in kinds}
        self.all = {}
        for s, kind in kinds.items():
            lines = "".join(self.lines[other] + "\n" for other in kinds if other == s or other not in joiners)
            self.all[s] = Member(s, kind, os.path.join(top, "%s%d" % (name, s)), ports[s][2], lines, settings, s in observers)

    def __getitem__(self, sid):
        return self.all[sid]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for m in self.all.values():
            m.kill()

    def running(self):
        return [m for m in self.all.values() if m.process]

    def start(self, *sids):
        """Starts them, and waits until they all serve."""
        for s in sids:
            self[s].start()
        self.serving(*sids)

    def serving(self, *sids):
        for s in sids:
            until("server %d (%s) serves; its log ends\n%s" % (s, self[s].kind, self[s].tail()), self[s].mode)

    def leader(self):
        """The sid of the one leader that serves, behind which all others do."""
        def test():
            modes = {m.sid: m.mode() for m in self.running()}
            leaders = [s for s, mode in modes.items() if mode == "leader"]
            return all(modes.values()) and len(leaders) == 1 and leaders[0]
        return until("one leader, all others behind it", test)

    def hosts(self):
        return ",".join("127.0.0.1:%d" % m.port for m in self.all.values())

    def dumps(self):
        """{sid: the whole tree} of every server, each as of the same transaction."""
        zxid = max(m.zxid() for m in self.running())
        for m in self.running():
            zk = tree.client(m.port)
            zk.sync("/")
            zk.stop()
            zk.close()
        assert zxid > 0
        return {m.sid: self._dump(m) for m in self.running()}

    def _dump(self, member):
        nodes = tree.dump(member.port)
        # Every server writes this node for itself when it has no other, with its own clock.
        data, stat, acl = nodes["/zookeeper/config"]
        nodes["/zookeeper/config"] = data, tuple(0 if k == "mtime" else v for k, v in zip(tree.STAT, stat)), acl
        return nodes


class Writer(threading.Thread):
    """Creates /w/0, /w/1, … one after the other at whatever server answers; each is tried until it is known to be there. `acked`: how many are.
    The client has one session from the beginning to the end, and an ephemeral of it."""

    def __init__(self, ensemble):
        super().__init__(daemon=True)
        self.acked, self.lost, self.odd, self.ending, self.longest = 0, 0, [], False, 0.0
        self.turn = threading.Lock()        # who holds it keeps the writer from writing
        self.zk = KazooClient(ensemble.hosts(), timeout=20, connection_retry={"max_tries": -1, "delay": 0.05, "backoff": 1, "max_delay": 0.2})
        self.zk.add_listener(self._state)
        self.zk.start(WAIT)
        self.zk.ensure_path("/w")
        self.session = self.zk.client_id[0]
        self.zk.create("/ephemeral-of-the-writer", b"", ephemeral=True)
        self.start()

    def _state(self, state):
        if state == KazooState.LOST and not self.ending:
            self.lost += 1

    def run(self):
        again, last = False, time.monotonic()
        while not self.ending:
            try:
                with self.turn:
                    self.zk.create_async("/w/%d" % self.acked, b"%d" % self.acked).get(timeout=5)
            except NodeExistsError:
                if not again:
                    self.odd.append(self.acked)
            except (KazooException, KazooTimeoutError, OSError):
                again = True
                time.sleep(0.02)
                continue
            self.acked, again = self.acked + 1, False
            self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
            time.sleep(0.005)

    def progress(self, count=20):
        """Waits for so many more acknowledged writes."""
        end = self.acked + count
        until("%d more writes" % count, lambda: self.acked >= end)

    def finish(self, results, name, ensemble):
        """Ends it, and looks for every acknowledged write, and the ephemeral, on all servers."""
        self.ending = True
        self.join(WAIT)
        for m in ensemble.running():
            zk = tree.client(m.port)
            zk.sync("/")
            there = set(map(int, zk.get_children("/w")))
            gone = sorted(set(range(self.acked)) - there)
            results.check("%s: every acknowledged write is on server %d" % (name, m.sid), not gone, gone[:10])
            stat = zk.exists("/ephemeral-of-the-writer")
            results.check("%s: the writer's ephemeral is on server %d" % (name, m.sid), stat and stat.ephemeralOwner == self.session)
            zk.stop()
            zk.close()
        results.check("%s: the writer's session survives" % name, self.lost == 0, "lost %d times" % self.lost)
        results.check("%s: nothing was written that was not asked for" % name, not self.odd, self.odd[:10])
        self.zk.stop()
        self.zk.close()
        print("%s: %d writes acknowledged, the longest pause %.1f s" % (name, self.acked, self.longest), flush=True)


def complaints(results, name, ensemble, also="$^"):
    """What servers say of packets, in records (a line and the trace below it) that neither a broken connection nor `also` explains."""
    for m in ensemble.all.values():
        for kind in ("java", "zebu"):
            m.log = "%s.%s.log" % (m.data, kind)
            records = re.split(r"\n(?=\d\d[\d:.TZ-]+ )", "\n".join(m.said("")))
            odd = [r[:1000] for r in records if BAD[kind].search(r) and not USUAL[kind].search(r) and not re.search(also, r)]
            results.check("%s: no complaint of server %d as %s" % (name, m.sid, kind), not odd, "\n  " + "\n  ".join(odd[:20]))
