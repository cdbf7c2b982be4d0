"""Servers for the tests that need real ones: `zebu server`, and the real ZooKeeper 3.9.3 from its jars. Everything is on
loopback. The environment names what to run: ZEBU (the binary), ZK_JARS (the folder of jars)."""
import os, random, signal, socket, subprocess, sys, tempfile, time

SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="   # the digest of super:test


def free_port():
    """A port that nothing uses, below the range that outgoing connections get theirs from."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(12000, 30000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise RuntimeError("no free port")


def word(port, name):
    """The answer to a four-letter word, or nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(10)
            s.sendall(name.encode())
            return b"".join(iter(lambda: s.recv(65536), b"")).decode("utf8", "replace")
    except OSError:
        return ""


class Server:
    """One standalone server on a data directory, of either kind. A context manager that leaves nothing running."""

    def __init__(self, kind, data, port=None, **settings):
        assert kind in ("zebu", "java"), kind
        self.kind, self.data, self.port, self.process = kind, data, port or free_port(), None
        os.makedirs(data, exist_ok=True)
        self.log = data.rstrip("/") + ".log"
        self.settings = {"tickTime": 500, "maxSessionTimeout": 120000, "maxClientCnxns": 0, "4lw.commands.whitelist": "*",
                         "DigestAuthenticationProvider.superDigest": SUPER, **settings}

    def command(self):
        """The command that runs it, its configuration written."""
        cfg = self.data.rstrip("/") + ".cfg"
        with open(cfg, "w") as f:
            f.write("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n" % (self.data, self.port))
            f.writelines("%s=%s\n" % (k, v) for k, v in self.settings.items())
            if self.kind == "java":
                f.write("admin.enableServer=false\n")
        if self.kind == "zebu":
            return [os.environ["ZEBU"], "server", cfg]
        return ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO", "-Dzookeeper.admin.enableServer=false",
                "-cp", os.environ["ZK_JARS"] + "/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain", cfg]

    def start(self, extra=()):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command() + list(extra), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("the %s server ended with %d:\n%s" % (self.kind, self.process.returncode, self.tail()))
            if "Mode: standalone" in word(self.port, "srvr"):
                return self
            time.sleep(0.1)
        raise RuntimeError("the %s server does not serve:\n%s" % (self.kind, self.tail()))

    def tail(self):
        with open(self.log, "rb") as f:
            return f.read()[-3000:].decode("utf8", "replace")

    def stop(self):
        """SIGTERM; gives the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self):
        """SIGKILL."""
        return self._end(signal.SIGKILL)

    def _end(self, sig):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the %s server does not end on signal %d:\n%s" % (self.kind, sig, self.tail()))
        finally:
            self.process = None

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, *_):
        self.kill()


class Results:
    """Named checks. `close` prints the count and ends the program."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def check(self, name, ok, why=""):
        if ok:
            self.passed += 1
        else:
            self.failed.append(name)
            print("FAILED %s%s" % (name, ": " + str(why) if why else ""), flush=True)
        return ok

    def equal(self, name, got, want):
        return self.check(name, got == want, "\n  got  %r\n  want %r" % (got, want))

    def close(self):
        print("%d passed, %d failed" % (self.passed, len(self.failed)), flush=True)
        sys.exit(1 if self.failed else 0)


def folder():
    """A new folder for a test's data; removed with `target/`."""
    top = os.environ.get("ZEBU_TEST_DATA") or tempfile.gettempdir()
    os.makedirs(top, exist_ok=True)
    return tempfile.mkdtemp(prefix="zebu-", dir=top)
