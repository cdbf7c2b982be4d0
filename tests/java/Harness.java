import java.io.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.*;
import org.apache.zookeeper.*;

/** What ClientTest stands on: named checks, a server that it starts and kills, a proxy that cuts connections, watchers that remember. */
class Harness {
    static int passed, failed;

    static void check(String name, boolean ok, Object why) {
        if (ok) passed++;
        else { failed++; System.out.println("FAILED " + name + ": " + why); }
    }
    static void equal(String name, Object got, Object want) { check(name, Objects.equals(got, want), "got " + got + ", want " + want); }

    interface Body { void run() throws Exception; }
    /** A body that must fail with this code. */
    static void fails(String name, KeeperException.Code code, Body body) {
        try { body.run(); check(name, false, "it succeeded, want " + code); }
        catch (KeeperException e) { equal(name, e.code(), code); }
        catch (Exception e) { check(name, false, e); }
    }
    /** A named group of checks; an exception in it is one failure. */
    static void group(String name, Body body) {
        long start = System.nanoTime();
        try { body.run(); check(name + " ran to its end", true, ""); }
        catch (Throwable e) { e.printStackTrace(System.out); check(name + " ran to its end", false, e); }
        System.out.printf("%s: %.1f s%n", name, (System.nanoTime() - start) / 1e9);
    }

    /** Remembers events in their order. */
    static class Events implements Watcher {
        final BlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();
        public void process(WatchedEvent e) { queue.add(e); }
        /** The next event as `type path`, or the state if it is one of the session. */
        String next(long ms) throws InterruptedException {
            WatchedEvent e = queue.poll(ms, TimeUnit.MILLISECONDS);
            if (e == null) return "nothing";
            return e.getType() == Event.EventType.None ? e.getState().toString() : e.getType() + " " + e.getPath();
        }
        String next() throws InterruptedException { return next(10000); }
        /** The next event of a node. */
        String nextOfNode() throws InterruptedException {
            for (;;) { String s = next(); if (s.contains(" ") || s.equals("nothing")) return s; }
        }
        /** Waits for a state of the session. */
        boolean state(String want, long ms) throws InterruptedException {
            long end = System.currentTimeMillis() + ms;
            for (;;) {
                String s = next(Math.max(1, end - System.currentTimeMillis()));
                if (s.equals(want)) return true;
                if (s.equals("nothing")) return false;
            }
        }
    }

    /** A client that is connected, with its session events. */
    static ZooKeeper connect(int port, int timeout, Events events) throws Exception {
        ZooKeeper zk = new ZooKeeper("127.0.0.1:" + port, timeout, events);
        if (!events.state("SyncConnected", 20000)) throw new IOException("no session in 20 s");
        return zk;
    }
    static ZooKeeper connect(int port) throws Exception { return connect(port, 20000, new Events()); }

    /** The server under test: a command that runs it in the foreground. */
    static class Server {
        final List<String> command; final File log; Process process;
        Server(List<String> command, File log) { this.command = command; this.log = log; }
        void start() throws Exception {
            process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(log)).start();
        }
        void kill() throws Exception { process.destroyForcibly().waitFor(); }
    }

    /** Hands bytes on between a port of its own and the server's; cut ends every connection, and refuses new ones until mend;
        stall keeps the connections but hands nothing on. */
    static class Proxy extends Thread {
        final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        final int target; final List<Socket> open = new ArrayList<>();
        volatile boolean refuse, stalled;
        Proxy(int target) throws IOException { this.target = target; setDaemon(true); start(); }
        int port() { return listener.getLocalPort(); }
        public void run() {
            for (;;) {
                try {
                    Socket a = listener.accept();
                    if (refuse) { a.close(); continue; }
                    Socket b = new Socket("127.0.0.1", target);
                    synchronized (open) { open.add(a); open.add(b); }
                    pump(a, b); pump(b, a);
                } catch (IOException e) { /* the server is away: the client tries again */ }
            }
        }
        private void pump(Socket from, Socket to) {
            Thread t = new Thread(() -> {
                byte[] buffer = new byte[65536];
                try {
                    InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream();
                    for (int n; (n = in.read(buffer)) > 0;) { while (stalled) Thread.sleep(10); out.write(buffer, 0, n); out.flush(); }
                } catch (IOException | InterruptedException e) { /* cut */ }
                try { from.close(); to.close(); } catch (IOException e) { /* closed already */ }
            });
            t.setDaemon(true); t.start();
        }
        void cut() throws IOException { refuse = true; synchronized (open) { for (Socket s : open) s.close(); open.clear(); } }
        void mend() { refuse = false; }
    }
}
