"""`zebu server --record FILE` under a client, then `zebu-sim replay FILE`: the core, told the same, has to say the same."""
import os, subprocess, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import servers, tree

top = servers.folder()
recording = os.path.join(top, "recording")
with servers.Server("zebu", os.path.join(top, "data"), snapCount=50) as server:
    server.stop()
    server.start(["--record", recording])
    zk = tree.client(server.port)
    zk.create("/r", b"x")
    for i in range(200):
        zk.create("/r/n-", b"x" * i, ephemeral=i % 2 == 0, sequence=True)
        zk.set("/r", b"%d" % i)
    zk.stop()
    zk.close()
    tree.dump(server.port)
    server.stop()
print("recorded %d bytes" % os.path.getsize(recording))
done = subprocess.run([os.environ["ZEBU_SIM"], "replay", recording], capture_output=True, text=True)
print(done.stdout[-2000:], done.stderr[-2000:])
sys.exit(done.returncode)
