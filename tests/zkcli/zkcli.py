"""Debian's zkCli.sh against a server: every command of commands.txt in one session, its output compared with expected.txt,
which was recorded on a real 3.9.3 (`zkcli.py --record`); then a node that must be there after kill -9.

What differs from run to run becomes a word first: zxids their rank, times T, sessions SESSION, ports PORT. Watch events are
compared as one list at the end: in which command's output they are printed depends on the client's threads."""
import os, re, selectors, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "real"))
import servers

COMMAND = [os.environ.get("ZKCLI", "/usr/share/zookeeper/bin/zkCli.sh"), "-waitforconnection", "-server"]
ENV = dict(os.environ, TERM="dumb", JVMFLAGS="-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djline.terminal=jline.UnsupportedTerminal -Dlog4j.configuration=file:/dev/null")
EVENT = r"WatchedEvent state:\S+ type:\S+ path:\S*"


def transcript(port, commands):
    """[(command, output)]. After each command a stat of a missing node marks the end of its output; the answer comes from the
    server, so the events of the command have come before it."""
    p = subprocess.Popen(COMMAND + ["127.0.0.1:%d" % port], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    waiter, text, out = selectors.DefaultSelector(), "", []
    waiter.register(p.stdout, selectors.EVENT_READ)

    def until(mark, limit):
        nonlocal text
        end = time.monotonic() + limit
        while not (found := re.search(mark, text)):
            if time.monotonic() > end:
                raise RuntimeError("zkCli does not go on; it printed %r" % text[-2000:])
            if waiter.select(0.2):
                chunk = os.read(p.stdout.fileno(), 65536)
                if not chunk:
                    raise RuntimeError("zkCli ended; it printed %r" % text[-2000:])
                text += chunk.decode("utf8", "replace")
        part, text = text[: found.start()], text[found.end() :]
        return part

    try:
        for i, command in enumerate(["ls /"] + commands):
            p.stdin.write(("%s\nstat /mark-%d\n" % (command, i)).encode())
            part = until(r"(Node does not exist: |KeeperErrorCode = AuthFailed for )/mark-%d\n|Not connected\n" % i, 60)
            if i:
                out.append((command, part))
        p.stdin.write(b"quit\n")
        p.wait(20)
    finally:
        p.kill()
        p.wait()
    return out


def normal(out, port):
    """The transcript as text that two runs agree on."""
    seen = {int(x, 16) for _, t in out for x in re.findall(r"[cmp]Zxid = 0x([0-9a-f]+)", t)} - {0}
    rank = {z: i + 1 for i, z in enumerate(sorted(seen))}
    text, events = "", []
    for command, t in out:
        t = re.sub(r"\[zk: [^\]]*\] ?", "", t.replace("\r", ""))
        events += re.findall(EVENT, t)
        t = re.sub(r"Zxid = 0x([0-9a-f]+)", lambda m: "Zxid = z%d" % rank.get(int(m.group(1), 16), 0), t)
        t = re.sub(r"(time = ).*", r"\1T", t)
        t = re.sub(r"(ephemeralOwner = )0x[0-9a-f]{2,}", r"\1SESSION", t)
        t = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", t)
        t = re.sub(r"(?i)(session ?id:? ?)0x\w+", r"\1SESSION", t)
        lines = [l.rstrip() for l in t.split("\n")]
        # The client echoes what it reads; Java's traces of exceptions differ by the place in its own code.
        lines = [l for l in lines if l and l != command and not l.startswith(("stat /mark-", "log4j:", "SLF4J:", "\tat ", "WATCHER::", "WatchedEvent"))]
        # Children and identities have no order.
        lines = ["[%s]" % ", ".join(sorted(l[1:-1].split(", "))) if l[0] == "[" and l[-1] == "]" else l for l in lines]
        if command.startswith(("ls -R", "whoami")):
            lines.sort()
        text += "> %s\n" % command + "".join("  %s\n" % l for l in lines)
    return text + "> events\n" + "".join("  %s\n" % e for e in events)


def blocks(text):
    return [("> " + b).rstrip("\n") for b in text.split("> ") if b]


def main():
    commands = open(os.path.join(here, "commands.txt")).read().splitlines()
    expected, results, top = os.path.join(here, "expected.txt"), servers.Results(), servers.folder()
    record = "--record" in sys.argv
    with servers.Server("java" if record else "zebu", os.path.join(top, "zkcli")) as server:
        got = normal(transcript(server.port, commands), server.port)
        if record:
            with open(expected, "w") as f:
                f.write(got)
            print("recorded %d commands" % len(commands))
            return
        want = blocks(open(expected).read())
        got = blocks(got)
        for i, (g, w) in enumerate(zip(got, want)):
            results.check("zkcli %d: %s" % (i + 1, (commands + ["events"])[i]), g == w, "\n  got  %s\n  want %s" % (g, w))
        results.equal("number of commands", len(got), len(want))
        transcript(server.port, ["create /kept precious"])
        server.kill()
        server.start()
        results.check("a node outlives kill -9", "precious" in dict(transcript(server.port, ["get /kept"]))["get /kept"])
    results.close()


main()
