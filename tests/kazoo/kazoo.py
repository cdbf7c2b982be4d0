"""kazoo's own test suite (the sdist's, in $KAZOO) with ZOOKEEPER_CLUSTER_SIZE=1 against `zebu server`. Every test that passes on a real
3.9.3 (expected-3.9.3-size1.txt, made by `kazoo.py --record` with $ZK_JARS) must pass here, but those of exceptions.txt.

Its harness starts the server as `java …`: shim/java stands first on the PATH. Many of its tests race with short timeouts, so what fails is
run once more, alone, and counts if it passes then; the second tries are named."""
import os, random, re, signal, subprocess, sys
import xml.etree.ElementTree as xml

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "real"))
import servers

EXPECTED, EXCEPTIONS = os.path.join(here, "expected-3.9.3-size1.txt"), os.path.join(here, "exceptions.txt")
LIMIT = 900     # seconds for all of it; a single test has 150


def run(name, tests, java, top):
    """Runs pytest in a process group of its own; gives {test: why it failed, or ''}, skipped ones left out."""
    report, log = os.path.join(top, name + ".xml"), os.path.join(top, name + ".log")
    env = dict(os.environ, PATH=os.path.join(here, "shim") + ":" + os.environ["PATH"], ZOOKEEPER_VERSION="3.9.3", ZOOKEEPER_CLASSPATH="unused",
               ZOOKEEPER_CLUSTER_SIZE="1", ZOOKEEPER_PORT_OFFSET=str(random.SystemRandom().randrange(1200, 2900) * 10), PYTHONDONTWRITEBYTECODE="1",
               TMPDIR=top)
    if not java:
        env.pop("ZK_JARS", None)
    with open(log, "wb") as out:
        p = subprocess.Popen([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra", "-o", "log_cli=false", "-W", "ignore", "--color=no", "--timeout=150", "--junitxml", report] + tests,
                             cwd=os.environ["KAZOO"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        try:
            p.wait(LIMIT)
        except subprocess.TimeoutExpired:
            print("FAILED kazoo's suite does not end within %d s" % LIMIT)
        finally:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    if not os.path.exists(report):
        with open(log, errors="replace") as f:
            sys.exit("pytest made no report; its output ends:\n" + f.read()[-3000:])
    out = {}
    for case in xml.parse(report).iter("testcase"):
        bad = [x for x in case if x.tag in ("failure", "error")]
        if bad or not any(x.tag == "skipped" for x in case):
            text = bad[0].get("message") or bad[0].text or "" if bad else ""
            out[case.get("classname") + "::" + case.get("name")] = " ".join(text.split())[:300] or ("failed" if bad else "")
    return out


def node(name):
    """The name as pytest takes it: kazoo.tests.test_x.Class::test is kazoo/tests/test_x.py::Class::test."""
    module, cls, test = re.fullmatch(r"(.*?)(?:\.([A-Z]\w*))?::(.*)", name).groups()
    return "::".join([module.replace(".", "/") + ".py"] + ([cls] if cls else []) + [test])


def main():
    top = servers.folder()
    if "--record" in sys.argv:
        passed = sorted(n for n, why in run("record", ["kazoo/tests"], True, top).items() if not why)
        with open(EXPECTED, "w") as f:
            f.write("".join(n + "\n" for n in passed))
        print("recorded %d tests" % len(passed))
        return
    excepted = {l.split()[0] for l in open(EXCEPTIONS) if l.strip() and l[0] != "#"}
    baseline = open(EXPECTED).read().split()
    unknown = excepted - set(baseline)
    if unknown:
        sys.exit("exceptions.txt names tests that are not in the baseline: %s" % ", ".join(sorted(unknown)))
    required = [n for n in baseline if n not in excepted]
    got = run("all", ["kazoo/tests"], False, top)
    failed = [n for n in required if got.get(n, "did not run")]
    if 0 < len(failed) <= 20:
        again = run("again", [node(n) for n in failed], False, top)
        for n in failed:
            print("second try of %s: %s (first: %s)" % (n, again.get(n, "did not run") or "passed", got.get(n, "did not run")))
        failed = [n for n in failed if again.get(n, "did not run")]
    else:
        for n in failed:
            print("FAILED %s: %s" % (n, got.get(n, "did not run")))
    early = sorted(n for n in excepted if not got.get(n, "did not run"))
    print("kazoo: %d tests pass on 3.9.3 with one server, %d of them excepted; logs in %s" % (len(baseline), len(excepted), top))
    if early:
        print("excepted, but passing (strike them from exceptions.txt): %s" % ", ".join(early))
    print("%d passed, %d failed" % (len(required) - len(failed), len(failed)))
    sys.exit(1 if failed else 0)


main()
