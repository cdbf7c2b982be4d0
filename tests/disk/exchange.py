"""Data directories that go between Zebu and a real ZooKeeper 3.9.3. One directory is served by one after the other, some ended by
SIGTERM, some by SIGKILL; each has to show, node for node with every field, what the one before showed last, and to know the sessions.
Then the directories of traces/java/datadir that a real server wrote, against the trees that it gave for them."""
import base64, json, os, shutil, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "real"))
import servers, tree

# Small logs and snapshots, so that every life has several of both.
SETTINGS = {"snapCount": 60, "preAllocSize": 64, "extendedTypesEnabled": "true", "autopurge.snapRetainCount": 3}
HOPS = [("zebu", "kill"), ("java", "stop"), ("zebu", "stop"), ("java", "kill"), ("zebu", "kill"), ("zebu", "stop"), ("java", "stop")]


def exchange(results):
    data = os.path.join(servers.folder(), "exchange")
    before, session, zxid = None, None, None
    for i, (kind, end) in enumerate(HOPS):
        name = "exchange %d, %s" % (i, kind)
        with servers.Server(kind, data, **SETTINGS) as server:
            if before is not None:
                now = tree.dump(server.port)
                results.check(name + ": the tree of the one before", now == before, tree.differences(before, now))
                results.check(name + ": the session of the one before", session.attach(server.port))
            else:
                session = tree.Raw(server.port)
                results.check(name + ": an ephemeral", session.create_ephemeral("/ephemeral"))
            tree.work(server.port, i, 150)
            before = tree.dump(server.port)
            results.equal(name + ": the ephemeral's owner", before["/ephemeral"][1][7], session.id)
            zxid_now = int(servers.word(server.port, "srvr").partition("Zxid: ")[2].split()[0], 16)
            results.check(name + ": the zxid goes on", zxid is None or zxid_now > zxid, zxid_now)
            zxid = zxid_now
            code = server.stop() if end == "stop" else server.kill()
            if kind == "zebu" and end == "stop":
                results.equal(name + ": exit code", code, 0)
    with open(data + ".log", errors="replace") as f:
        said = [l for l in f if "Digests are not matching" in l or " ERROR " in l]
    results.check("no complaint of the real server", not said, said[:3])


def expected(node):
    stat = node["stat"]
    data = None if node["data"] is None else base64.b64decode(node["data"])
    return data, tuple(stat[k] for k in tree.STAT), tuple(map(tuple, node["acl"]))


def recorded(results):
    top = os.path.join(here, "..", "..", "traces", "java", "datadir")
    for name in sorted(os.listdir(top)):
        want = os.path.join(top, name + ".expected.json")
        # What is done about damaged files is core/src/disk's own test.
        if not os.path.exists(want) or name.startswith("tail-"):
            continue
        with open(want) as f:
            want = {p: expected(n) for p, n in json.load(f)["tree"].items()}
        data = os.path.join(servers.folder(), name)
        shutil.copytree(os.path.join(top, name), data)
        try:
            with servers.Server("zebu", data, extendedTypesEnabled="true") as server:
                got = tree.dump(server.port)
            results.check("recorded %s (%d nodes)" % (name, len(want)), got == want, tree.differences(want, got))
        except RuntimeError as e:
            results.check("recorded %s" % name, False, e)


def main():
    results = servers.Results()
    exchange(results)
    recorded(results)
    results.close()


main()
