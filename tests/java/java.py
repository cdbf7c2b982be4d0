"""Runs ClientTest with the Java client of 3.9.3 (compiled into $CLASSES) against a server on a fresh directory. `--java`: against the
real server of the same jars, to see that the test itself is right."""
import os, subprocess, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "real"))
import servers

server = servers.Server("java" if "--java" in sys.argv else "zebu", os.path.join(servers.folder(), "java"))
words = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=OFF", "-Dfile.encoding=UTF-8", "-cp",
         os.environ["CLASSES"] + ":" + os.environ["ZK_JARS"] + "/*", "ClientTest", str(server.port), server.log] + server.command()
sys.exit(subprocess.run(words, timeout=400).returncode)
