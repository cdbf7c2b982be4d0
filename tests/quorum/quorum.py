"""Zebu and the real ZooKeeper 3.9.3 in one ensemble: who leads, who follows and who takes over from whom, with clients on all of them.
`--java` runs everything with real servers only, to see that the tests themselves are right; names of scenarios run those alone."""
import logging, os, re, signal, socket, struct, sys, threading, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ensemble import Ensemble, Writer, complaints, servers, tree, until
from kazoo.exceptions import ConnectionLoss, KazooException, NodeExistsError
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import CREATOR_ALL_ACL, Id

results = servers.Results()
ZEBU = "java" if "--java" in sys.argv else "zebu"
LIMIT = 400      # seconds for all of it
seeds = iter(range(1, 1000))


def same_trees(name, ensemble):
    """Every server shows the same nodes with every field, and has the same digest at a new transaction. (Old ones tell nothing: a real
    server's snapshot can be ahead of its name, and so can the tree that is made of it, until what comes behind it is applied.)"""
    zxid = max(m.zxid() for m in ensemble.running())
    zk, path = tree.client(ensemble.running()[0].port), "/d%d" % next(seeds)
    zk.create(path, b"")
    # Every 128th zxid has one that is remembered.
    for asked in [zk.set_async(path, b"x" * (i % 7)) for i in range(130)]:
        asked.get(20)
    zk.stop()
    zk.close()
    dumps = ensemble.dumps()
    first, *rest = dumps
    digests = {m.sid: {int(z, 16): d for z, d in m.digests().items() if int(z, 16) > zxid} for m in ensemble.running()}
    results.check("%s: a digest" % name, digests[first])
    for other in rest:
        results.check("%s: the trees of %d and %d (%d nodes)" % (name, first, other, len(dumps[first])), dumps[first] == dumps[other],
                      tree.differences(dumps[first], dumps[other]))
        results.equal("%s: digests of %d and %d" % (name, first, other), digests[other], digests[first])
    for m in ensemble.running():
        if m.kind == "java":
            results.equal("%s: digest mismatches that server %d saw" % (name, m.sid), m.word("mntr", r"zk_digest_mismatches_count\s+(\d+)"), "0")


def clients(name, here, there):
    """What a client of server `here` can do, seen by a client of server `there`."""
    top = "/c%d" % next(seeds)
    a, b = tree.client(here.port), tree.client(there.port)
    seen = []
    a.create(top, b"0")
    b.sync(top)
    b.get(top, watch=seen.append)
    b.get_children(top, watch=seen.append)
    a.set(top, b"1")
    a.create(top + "/child", b"")
    until("a watch at %d of what %d changed" % (there.sid, here.sid), lambda: sorted(e.type for e in seen) == ["CHANGED", "CHILD"])
    back = []
    a.exists(top + "/later", watch=back.append)
    b.create(top + "/later", b"", ephemeral=True)
    until("a watch at %d of what %d changed" % (here.sid, there.sid), lambda: [e.type for e in back] == ["CREATED"])
    # sync: what was acknowledged elsewhere is read here.
    stale = 0
    for i in range(30):
        b.set(top, b"%d" % i)
        a.sync(top)
        stale += a.get(top)[0] != b"%d" % i
    results.equal(name + ": stale reads behind sync", stale, 0)
    a.sync(top)
    results.equal(name + ": whose the ephemeral is", a.exists(top + "/later").ephemeralOwner, b.client_id[0])
    b.stop()
    until("the ephemeral goes with its session", lambda: not a.exists(top + "/later"))
    b.close()
    # multi: all or nothing, and sequence numbers.
    t = a.transaction()
    t.create(top + "/m", b"m")
    t.set_data(top, b"multi")
    t.delete(top + "/child")
    results.check(name + ": a multi", not any(isinstance(r, Exception) for r in t.commit()))
    t = a.transaction()
    t.create(top + "/no", b"")
    t.check(top, 12345)
    t.create(top + "/no2", b"")
    got = [type(r).__name__ for r in t.commit()]
    results.equal(name + ": a multi that fails", (got, a.exists(top + "/no")), (["RolledBackError", "BadVersionError", "RuntimeInconsistency"], None))
    results.equal(name + ": sequence numbers", [a.create(top + "/s-", b"", sequence=True)[-10:] for _ in range(3)], ["%010d" % i for i in (3, 4, 5)])
    try:
        a.create(top + "/m", b"")
        results.check(name + ": an error", False, "created twice")
    except NodeExistsError:
        results.check(name + ": an error", True)
    # Who a client is goes with what it asks.
    bob = KazooClient("127.0.0.1:%d" % here.port, timeout=20, auth_data=[("digest", "bob:pw")])
    bob.start(20)
    bob.create(top + "/bobs", b"", acl=CREATOR_ALL_ACL)
    results.equal(name + ": an identity", [x.id for x in bob.get_acls(top + "/bobs")[0]], [Id("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")])
    bob.stop()
    bob.close()
    # Many at once keep their order.
    asked = [a.create_async(top + "/p%d" % i, b"x" * i) for i in range(200)]
    a.set_async(top, b"last")
    results.equal(name + ": a pipeline", ([r.get(20) for r in asked] == [top + "/p%d" % i for i in range(200)], a.get(top)[0]), (True, b"last"))
    # A container that had a child, and a node whose time is over: the leader deletes both.
    raw = tree.Raw(here.port)
    results.check(name + ": a container and a TTL node", special(raw, 19, top + "/container", 4) and special(raw, 21, top + "/ttl", 5, struct.pack(">q", 1)))
    a.create(top + "/container/x", b"")
    a.delete(top + "/container/x")
    until("container and TTL node go", lambda: not a.exists(top + "/container") and not a.exists(top + "/ttl"))
    a.stop()
    a.close()
    tree.work(here.port, next(seeds), 150)


def ballast(port, count=40):
    """Some megabytes, so that a snapshot is many packets."""
    zk = tree.client(port)
    zk.create("/ballast", b"")
    for asked in [zk.create_async("/ballast/%d" % i, os.urandom(250000)) for i in range(count)]:
        asked.get(20)
    zk.stop()
    zk.close()


def special(raw, op, path, flags, rest=b""):
    """A create of a kind that kazoo has not."""
    raw.xid += 1
    text = path.encode()
    raw._send(struct.pack(">iii%dsi" % len(text), raw.xid, op, len(text), text, 0) + struct.pack(">iii5si6si", 1, 31, 5, b"world", 6, b"anyone", flags) + rest)
    return struct.unpack(">iqi", raw._receive()[:16])[2] == 0


def expiry(name, here, there):
    """A client of `here` that falls silent: its session ends, on all servers."""
    path = "/x%d" % next(seeds)
    silent, zk = tree.Raw(here.port, timeout=1000), tree.client(there.port)
    results.check(name + ": an ephemeral of a short session", silent.create_ephemeral(path))
    zk.sync("/")
    results.check(name + ": it is seen", zk.exists(path))
    until("the silent session ends", lambda: not zk.exists(path), 10)
    zk.stop()
    zk.close()
    results.check(name + ": the ended session is unknown", not silent.attach(there.port))


def moves(name, here, there):
    """A session goes from server to server."""
    path = "/v%d" % next(seeds)
    zk, session = tree.client(there.port), tree.Raw(here.port)
    results.check(name + ": an ephemeral", session.create_ephemeral(path))
    old = session.socket
    results.check(name + ": the session at the other server", session.attach(there.port))
    results.check(name + ": an ephemeral from there", session.create_ephemeral(path + "b"))
    zk.sync("/")
    results.equal(name + ": both are the session's", [zk.exists(p).ephemeralOwner for p in (path, path + "b")], [session.id] * 2)
    new, session.socket = session.socket, old
    try:
        session.socket.settimeout(10)
        results.check(name + ": the old connection writes no more", not session.create_ephemeral(path + "c"))
    except OSError:
        results.check(name + ": the old connection is closed", True)
    session.socket = new
    results.check(name + ": the session goes back", session.attach(here.port) and session.create_ephemeral(path + "d"))
    zk.sync("/")
    results.equal(name + ": the ephemerals stay", [bool(zk.exists(path + x)) for x in ("", "b", "c", "d")], [True, True, False, True])
    password, session.password = session.password, b"\1" * 16
    try:
        results.check(name + ": a wrong password", not session.attach(there.port))
    except OSError:
        results.check(name + ": a wrong password", True)
    session.password = password
    zk.stop()
    zk.close()


def rejoin(name, ensemble, sid, how, alive):
    """Server `sid` is killed, misses what is written at `alive`, and comes back by `how`, while more is written."""
    ensemble[sid].kill()
    if how == "SNAP":
        ensemble[sid].wipe()
    tree.work(ensemble[alive].port, next(seeds), 40)
    zk, over = tree.client(ensemble[alive].port), threading.Event()
    paths = ["/f%d-%d" % (next(seeds), i) for i in range(20)]
    for path in paths:
        zk.create(path, b"")

    def flood():
        while not over.wait(0.01):
            for asked in [zk.set_async(path, b"x" * 100) for path in paths]:
                asked.get(20)
    writer = threading.Thread(target=flood)
    writer.start()
    try:
        synchronised(name, ensemble, sid, how)
    finally:
        over.set()
        writer.join()
        zk.stop()
        zk.close()


LEARNER = {"java": {"DIFF": "Getting a diff from the leader", "SNAP": "Getting a snapshot from leader", "TRUNC": "Truncating log to get in sync"},
           "zebu": {"SNAP": "the leader's snapshot takes the place", "TRUNC": "cut off at the leader's word"}}


def synchronised(name, ensemble, sid, how):
    """Server `sid` starts, and says how it was synchronised."""
    member, words = ensemble[sid], LEARNER[ensemble[sid].kind]
    mark = member.mark()
    ensemble.start(sid)
    results.equal("%s: %d comes back by %s" % (name, sid, how), [k for k in words if member.said(words[k], mark)], [how] if how in words else [])


def tail(ensemble, leader, follower):
    """The leader, left by its followers, logs a transaction that nobody else has, and is killed."""
    session = tree.Raw(ensemble[leader].port)
    ensemble[follower].kill()
    try:
        session.socket.settimeout(0.2)
        session.create_ephemeral("/tail")
    except OSError:
        pass
    ensemble[leader].kill()


def behind_2(ensemble):
    """3, which leads or is made to, is killed when all know the same: then 2 leads 1."""
    if ensemble.leader() == 1:
        ensemble[1].kill()
        results.equal("3 leads 2", ensemble.leader(), 3)
        ensemble.start(1)
    # A new epoch shows with its first transaction.
    tree.dump(ensemble[1].port)
    until("1 and 2 know the same", lambda: ensemble[1].zxid() == ensemble[2].zxid() == ensemble[3].zxid())
    ensemble[3].kill()
    results.equal("2 leads 1", ensemble.leader(), 2)


def take_turns(name, ensemble, kinds, rounds=8):
    """The leader is killed, again and again, under writes, until each of `kinds` (who led, who leads then) was seen."""
    writer, seen = Writer(ensemble), []
    for _ in range(rounds):
        old = ensemble.leader()
        writer.progress()
        ensemble[old].kill()
        new = ensemble.leader()
        seen.append((ensemble[old].kind, ensemble[new].kind))
        writer.progress()
        ensemble.start(old)
        ensemble.leader()
        if set(kinds) <= set(seen):
            break
    results.check("%s: leaders, old and new" % name, set(kinds) <= set(seen), seen)
    print("%s: leaders, old and new: %s" % (name, seen), flush=True)
    writer.finish(results, name, ensemble)
    same_trees(name, ensemble)


def follower():
    """Two real servers and Zebu, which follows; another Zebu observes."""
    with Ensemble("follower", {1: "java", 2: ZEBU, 3: "java", 4: ZEBU}, observers=[4]) as e:
        e.start(1, 3)
        results.equal("follower: who leads", e.leader(), 3)
        tree.work(e[1].port, next(seeds), 100)
        ballast(e[1].port)
        synchronised("follower", e, 2, "SNAP")
        clients("follower", e[2], e[3])
        clients("follower's fellow", e[1], e[2])
        expiry("follower", e[2], e[1])
        moves("follower, leader", e[2], e[3])
        moves("follower, its fellow", e[2], e[1])
        synchronised("real leader's observer", e, 4, "SNAP")
        results.equal("real leader's observer: its mode", e[4].mode(), "observer")
        clients("real leader's observer", e[4], e[2])
        expiry("real leader's observer", e[4], e[3])
        moves("real leader's observer", e[4], e[1])
        same_trees("follower", e)
        rejoin("real leader's observer", e, 4, "DIFF", 1)
        rejoin("follower", e, 2, "DIFF", 1)
        rejoin("follower, wiped", e, 2, "SNAP", 1)
        same_trees("follower rejoined", e)
        e[4].stop()
        # Zebu with a tail that nobody has.
        behind_2(e)
        tail(e, 2, 1)
        e.start(1, 3)
        synchronised("follower with a tail", e, 2, "TRUNC")
        same_trees("follower with a tail", e)
        take_turns("turns of two real servers and Zebu", e, [("java", ZEBU), (ZEBU, "java")])
        # Under load a real leader's snapshot can be followed by proposals that do not follow it: another snapshot is asked for.
        complaints(results, "follower", e, "does not follow the last transaction")


def leader():
    """Zebu leads a real server, and a real observer."""
    with Ensemble("leader", {1: ZEBU, 2: "java", 3: ZEBU, 4: "java"}, observers=[4]) as e:
        e.start(1, 3)
        results.equal("leader: who leads", e.leader(), 3)
        tree.work(e[1].port, next(seeds), 100)
        ballast(e[1].port)
        synchronised("leader", e, 2, "SNAP")
        clients("leader", e[2], e[3])
        clients("leader's other follower", e[1], e[2])
        expiry("leader", e[2], e[1])
        moves("leader, a real follower", e[3], e[2])
        moves("leader, two followers", e[1], e[2])
        synchronised("observer", e, 4, "SNAP")
        results.equal("observer: its mode", e[4].mode(), "observer")
        clients("observer", e[4], e[2])
        expiry("observer", e[4], e[3])
        moves("observer", e[4], e[1])
        same_trees("leader", e)
        rejoin("leader", e, 2, "DIFF", 1)
        rejoin("leader, wiped", e, 2, "SNAP", 1)
        rejoin("observer", e, 4, "DIFF", 1)
        rejoin("observer, wiped", e, 4, "SNAP", 1)
        same_trees("leader, all rejoined", e)
        e[4].stop()
        # The real server leads, gets a tail that nobody has, and comes back.
        behind_2(e)
        tail(e, 2, 1)
        e.start(1, 3)
        # Java's TRUNC is not exact (a newer snapshot stays): who can do without it sends it none.
        synchronised("leader of one with a tail", e, 2, "TRUNC" if ZEBU == "java" else "SNAP")
        same_trees("leader of one with a tail", e)
        # Again, but now its support is needed.
        behind_2(e)
        tail(e, 2, 1)
        e.start(1, 3)
        last = e.leader()
        e[1].kill()
        e[3].kill()
        e[last].start()
        synchronised("leader by grace of one with a tail", e, 2, "TRUNC")
        results.equal("leader by grace of one with a tail: who leads", e.leader(), last)
        e.start(4 - last)
        same_trees("leader by grace of one with a tail", e)
        take_turns("turns of two Zebus and a real server", e, [("java", ZEBU), (ZEBU, "java"), (ZEBU, ZEBU)])
        complaints(results, "leader", e)


def swap():
    """Three real servers become Zebu, one after the other, and real ones again, on the same directories under writes."""
    with Ensemble("swap", {1: "java", 2: "java", 3: "java"}, snapCount=300) as e:
        e.start(1, 2, 3)
        tree.work(e[1].port, next(seeds), 150)
        writer, session = Writer(e), tree.Raw(e[1].port)
        results.check("swap: an ephemeral", session.create_ephemeral("/kept"))
        for kind in (ZEBU, "java"):
            for m in e.all.values():
                writer.progress()
                m.stop()
                m.kind = kind
                e.start(m.sid)
                e.leader()
            writer.progress()
            results.check("swap: the session is known when all are %s" % kind, session.attach(e[2].port))
            if kind == ZEBU:
                with writer.turn:
                    same_trees("swap, all are %s" % kind, e)
        writer.finish(results, "swap", e)
        zk = tree.client(e[3].port)
        results.equal("swap: the ephemeral stays", zk.exists("/kept").ephemeralOwner, session.id)
        zk.stop()
        zk.close()
        same_trees("swap", e)
        complaints(results, "swap", e)


def reconfigure(name, ensemble, at, joining=None, leaving=None):
    """A client of server `at` changes the configuration; everybody who is in it shows the new one."""
    zk = tree.client(ensemble[at].port)
    before, _ = zk.get("/zookeeper/config")
    try:
        zk.reconfig(joining=ensemble.lines[joining] if joining else None, leaving=str(leaving) if leaving else None, new_members=None)
    except ConnectionLoss:
        # When the leader leaves, clients lose their connections, perhaps before the reply.
        results.check("%s: the connection is lost when %s leaves" % (name, leaving), leaving)
    zk.stop()
    zk.close()
    members = [m for m in ensemble.running() if m.sid != leaving]
    ensemble.serving(*(m.sid for m in members))

    def shown(m):
        zk = tree.client(m.port)
        try:
            return sorted(zk.get("/zookeeper/config")[0].decode().split("\n"))
        finally:
            zk.stop()
            zk.close()

    def agreed():
        try:
            first, *rest = [shown(m) for m in members]
            return first if all(r == first for r in rest) and first != sorted(before.decode().split("\n")) else None
        except (KazooException, KazooTimeoutError):
            return None
    config = until("all members show one new configuration", agreed)
    results.equal("%s: members when %s joins, %s leaves" % (name, joining, leaving), [l.partition("=")[0] for l in config], ["server.%d" % m.sid for m in members] + ["version"])


# Java leaves a leader by an exception, and its election module is replaced while it is used.
RECONFIGURED = 'changes proposed in reconfig|RejectedExecutionException|"leaderServer" is null|leads by reconfiguration|voting servers tolerate no more failures'


def hears_votes(name, member):
    """A vote that tells a proposed configuration behind the one in force, as Zebu's do, is a vote like any other."""
    host, _, port = re.search(r"^server\.%d=([^:]+):(\d+):(\d+)" % member.sid, member.lines, re.M).groups()
    config, sid, own = member.lines.encode() + b"version=0", 99, b"%s:1" % host.encode()
    vote = struct.pack(">iqqqqii", 0, sid, 0, 1, 0, 2, len(config)) + config + struct.pack(">i", len(config)) + config
    with socket.create_connection((host, int(port)), 10) as s, s.makefile("rb") as answers:
        s.sendall(struct.pack(">qqi", -65536, sid, len(own)) + own)
        for turn in ("first", "second"):
            s.sendall(struct.pack(">i", len(vote)) + vote)
            n, state, leader = struct.unpack(">iiq", answers.read(16))
            answers.read(n - 12)
            results.equal("%s: its answer to the %s vote with a proposed configuration" % (name, turn), (state, leader), (2, member.sid))


def reconfiguration():
    """Members come and go, of both kinds, under leaders of both kinds."""
    with Ensemble("reconfig", {1: "java", 2: ZEBU, 3: "java", 4: ZEBU}, joiners=[4], reconfigEnabled="true") as e:
        e.start(1, 3)
        e.start(2)
        leader = e.leader()
        results.equal("reconfig: a real server leads", e[leader].kind, "java")
        hears_votes("real leader", e[leader])
        writer = Writer(e)
        e.start(4)
        reconfigure("real leader", e, 2, joining=4)
        writer.progress()
        # The leader leaves: the others go on under one of them.
        reconfigure("real leader", e, 2, leaving=leader)
        e[leader].stop()
        writer.progress()
        new = e.leader()
        print("reconfig: %d leads after %d has left" % (new, leader), flush=True)
        if e[new].kind == "java":
            e[new].stop()
            back, new = new, e.leader()
            e.start(back)
        e[leader].wipe()
        # Java opens no client port to one that is no member.
        e[leader].start()
        hears_votes("Zebu leads", e[new])
        reconfigure("Zebu leads", e, 4, joining=leader)
        writer.progress()
        e.leader()
        reconfigure("Zebu leads", e, leader, leaving=new)
        e[new].stop()
        writer.progress()
        e.leader()
        writer.finish(results, "reconfig", e)
        same_trees("reconfig", e)
        complaints(results, "reconfig", e, RECONFIGURED)


def learns_from(port):
    """How many connections each server has at this port: {the last number of its address: connections}."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as f:
            for _, _, remote, state, *_ in map(str.split, list(f)[1:]):
                host, _, at = remote.partition(":")
                if int(at, 16) == port and state == "01":
                    last = int(host[-8:-6], 16)
                    found[last] = found.get(last, 0) + 1
    return found


def masters():
    """Observers of both kinds learn from a follower: a real one, then Zebu, then whoever follows the next leader."""
    port = servers.free_port()
    with Ensemble("masters", {1: "java", 2: ZEBU, 3: "java", 4: ZEBU, 5: "java"}, observers=[4, 5], apart=True, observerMasterPort=port) as e:
        e.start(1, 3)
        results.equal("masters: who leads", e.leader(), 3)
        tree.work(e[1].port, next(seeds), 50)
        synchronised("observer of a real follower", e, 4, "SNAP")
        results.equal("observer of a real follower: its connection", learns_from(port), {1: 1})
        clients("observer of a real follower", e[4], e[3])
        expiry("observer of a real follower", e[4], e[3])
        # To a real leader observers of one real follower are the same.
        moves("observer of a real follower", e[4], e[3])
        rejoin("observer of a real follower", e, 4, "DIFF", 1)
        same_trees("observer of a real follower", e)
        # Another follower: Zebu has both observers.
        e.start(2)
        e[1].kill()
        until("the observer goes to the other follower", lambda: learns_from(port) == {2: 1})
        synchronised("real observer of a follower", e, 5, "SNAP")
        results.equal("real observer of a follower: its connection", learns_from(port), {2: 2})
        clients("real observer of a follower", e[5], e[4])
        expiry("real observer of a follower", e[5], e[3])
        moves("real observer of a follower, leader", e[5], e[3])
        if ZEBU == "zebu":
            moves("real observer of a follower, another one", e[5], e[4])
            moves("real observer of a follower, that follower", e[5], e[2])
        rejoin("real observer of a follower", e, 5, "DIFF", 2)
        rejoin("real observer of a follower, wiped", e, 5, "SNAP", 2)
        same_trees("real observer of a follower", e)
        # The leader changes: they go on, wherever.
        e.start(1)
        e.leader()
        writer = Writer(e)
        writer.progress()
        e[3].kill()
        new = e.leader()
        results.check("masters: nobody learns from the old leader", set(learns_from(port)) <= {1, 2}, learns_from(port))
        print("masters: %d leads, connections at the others' port: %s" % (new, learns_from(port)), flush=True)
        writer.progress()
        e.start(3)
        e.leader()
        writer.finish(results, "masters", e)
        same_trees("masters", e)
        # Nobody listens where no follower is; and what fails in the place of a late request fails at the real leader.
        complaints(results, "masters", e, "Failed connect to /127|type:delete .* reqpath:/ Error")


def main():
    logging.disable(logging.CRITICAL)     # kazoo's words about broken connections
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("FAILED the tests do not end within %d s" % LIMIT))
    signal.alarm(LIMIT)
    names = [a for a in sys.argv[1:] if a != "--java"]
    for scenario in (follower, leader, swap, reconfiguration, masters):
        if names and scenario.__name__ not in names:
            continue
        start = time.monotonic()
        try:
            scenario()
        except (RuntimeError, OSError, KazooException) as e:
            results.check(scenario.__name__, False, "%s: %s" % (type(e).__name__, e))
        print("%s: %.0f s" % (scenario.__name__, time.monotonic() - start), flush=True)
    results.close()


main()
