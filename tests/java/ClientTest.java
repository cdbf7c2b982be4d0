import java.io.File;
import java.util.*;
import java.util.concurrent.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.data.*;

/** The Java client of ZooKeeper 3.9.3 against a server: the calls of its API, synchronous and asynchronous, watches, sessions,
    what it does when its connection breaks and when the server is killed. usage: ClientTest PORT LOG SERVER-COMMAND… */
public class ClientTest extends Harness {
    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    static int port;

    public static void main(String[] args) throws Exception {
        port = Integer.parseInt(args[0]);
        Server server = new Server(Arrays.asList(args).subList(2, args.length), new File(args[1]));
        server.start();
        try {
            group("calls", ClientTest::calls);
            group("asynchronous calls", ClientTest::async);
            group("multi", ClientTest::multi);
            group("acl and auth", ClientTest::auth);
            group("watches", ClientTest::watches);
            group("persistent watches", ClientTest::persistent);
            group("a broken connection", ClientTest::broken);
            group("sessions", ClientTest::sessions);
            group("kill -9", () -> killed(server));
        } finally { server.kill(); }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    static byte[] b(String s) { return s.getBytes(); }
    static String make(ZooKeeper zk, String path, CreateMode mode) throws Exception { return zk.create(path, b("x"), OPEN, mode); }
    static String make(ZooKeeper zk, String path) throws Exception { return make(zk, path, CreateMode.PERSISTENT); }
    static Set<String> children(ZooKeeper zk, String path) throws Exception { return new TreeSet<>(zk.getChildren(path, false)); }

    static void calls() throws Exception {
        ZooKeeper zk = connect(port);
        Stat s = new Stat();
        equal("create", zk.create("/calls", b("one"), OPEN, CreateMode.PERSISTENT, s), "/calls");
        check("create's stat", s.getCzxid() == s.getMzxid() && s.getPzxid() == s.getCzxid() && s.getVersion() == 0 && s.getDataLength() == 3, s);
        fails("create again", Code.NODEEXISTS, () -> make(zk, "/calls"));
        fails("no parent", Code.NONODE, () -> make(zk, "/none/x"));
        equal("sequential", make(zk, "/calls/s-", CreateMode.PERSISTENT_SEQUENTIAL), "/calls/s-0000000000");
        equal("ephemeral sequential", make(zk, "/calls/e-", CreateMode.EPHEMERAL_SEQUENTIAL), "/calls/e-0000000001");
        fails("child of an ephemeral", Code.NOCHILDRENFOREPHEMERALS, () -> make(zk, "/calls/e-0000000001/x"));
        equal("owner", zk.exists("/calls/e-0000000001", false).getEphemeralOwner(), zk.getSessionId());
        equal("children", children(zk, "/calls"), Set.of("s-0000000000", "e-0000000001"));
        zk.getChildren("/calls", false, s);
        check("stat of the parent", s.getCversion() == 2 && s.getNumChildren() == 2 && s.getPzxid() > s.getCzxid(), s);
        equal("all children", zk.getAllChildrenNumber("/calls"), 2);
        equal("ephemerals", zk.getEphemerals(), List.of("/calls/e-0000000001"));
        s = zk.setData("/calls", b("two!"), 0);
        check("setData's stat", s.getVersion() == 1 && s.getMzxid() > s.getCzxid() && s.getDataLength() == 4, s);
        fails("a stale version", Code.BADVERSION, () -> zk.setData("/calls", b("no"), 0));
        equal("data", new String(zk.getData("/calls", false, null)), "two!");
        equal("exists of nothing", zk.exists("/none", false), null);
        fails("getData of nothing", Code.NONODE, () -> zk.getData("/none", false, null));
        fails("delete of a parent", Code.NOTEMPTY, () -> zk.delete("/calls", -1));
        fails("delete of a stale version", Code.BADVERSION, () -> zk.delete("/calls/s-0000000000", 3));
        zk.delete("/calls/s-0000000000", 0);
        equal("a deleted node", zk.exists("/calls/s-0000000000", false), null);
        zk.create("/calls/null", null, OPEN, CreateMode.PERSISTENT);
        equal("null data", zk.getData("/calls/null", false, null), null);
        byte[] big = new byte[1000000];
        new Random(1).nextBytes(big);
        zk.create("/calls/big", big, OPEN, CreateMode.PERSISTENT);
        check("a megabyte", Arrays.equals(zk.getData("/calls/big", false, null), big), "differs");
        equal("a name with spaces and beyond ASCII", make(zk, "/calls/a b \u00e4\u4e2d"), "/calls/a b \u00e4\u4e2d");
        check("it is listed", children(zk, "/calls").contains("a b \u00e4\u4e2d"), children(zk, "/calls"));
        zk.sync("/calls");
        fails("TTL nodes are switched off", Code.UNIMPLEMENTED, () -> zk.create("/ttl", b("x"), OPEN, CreateMode.PERSISTENT_WITH_TTL, null, 1000));
        zk.close();
    }

    static void async() throws Exception {
        ZooKeeper zk = connect(port);
        make(zk, "/async");
        int n = 500;
        List<String> order = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch done = new CountDownLatch(3 * n);
        for (int i = 0; i < n; i++) {
            String path = "/async/" + i;
            zk.create(path, b("" + i), OPEN, CreateMode.PERSISTENT, (rc, p, ctx, name) -> { order.add("c" + ctx + rc); done.countDown(); }, i);
            zk.setData(path, b("v" + i), 0, (rc, p, ctx, stat) -> { order.add("s" + ctx + rc + stat.getVersion()); done.countDown(); }, i);
            zk.getData(path, false, (rc, p, ctx, data, stat) -> { order.add("g" + ctx + rc + new String(data)); done.countDown(); }, i);
        }
        check("all are answered", done.await(30, TimeUnit.SECONDS), done.getCount());
        List<String> want = new ArrayList<>();
        for (int i = 0; i < n; i++) { want.add("c" + i + "0"); want.add("s" + i + "01"); want.add("g" + i + "0v" + i); }
        equal("in the order they were asked, each read after the write before it", order, want);
        CompletableFuture<String> got = new CompletableFuture<>();
        zk.getChildren("/async", false, (rc, p, ctx, list, stat) -> got.complete(rc + " " + list.size() + " " + stat.getNumChildren()), null);
        equal("getChildren", got.get(10, TimeUnit.SECONDS), "0 " + n + " " + n);
        CompletableFuture<Integer> bad = new CompletableFuture<>(), synced = new CompletableFuture<>(), gone = new CompletableFuture<>();
        zk.delete("/async", -1, (rc, p, ctx) -> bad.complete(rc), null);
        equal("an error", bad.get(10, TimeUnit.SECONDS), Code.NOTEMPTY.intValue());
        zk.sync("/async", (rc, p, ctx) -> synced.complete(rc), null);
        equal("sync", synced.get(10, TimeUnit.SECONDS), 0);
        zk.exists("/none", false, (rc, p, ctx, stat) -> gone.complete(rc), null);
        equal("exists of nothing", gone.get(10, TimeUnit.SECONDS), Code.NONODE.intValue());
        zk.close();
    }

    static void multi() throws Exception {
        ZooKeeper zk = connect(port);
        make(zk, "/multi");
        List<OpResult> r = zk.transaction().create("/multi/a", b("1"), OPEN, CreateMode.PERSISTENT).setData("/multi/a", b("22"), 0)
            .check("/multi/a", 1).create("/multi/b-", b("3"), OPEN, CreateMode.EPHEMERAL_SEQUENTIAL).delete("/multi/a", 1).commit();
        equal("results", r.size(), 5);
        equal("create's", ((OpResult.CreateResult) r.get(0)).getPath(), "/multi/a");
        equal("setData's", ((OpResult.SetDataResult) r.get(1)).getStat().getVersion(), 1);
        String b = ((OpResult.CreateResult) r.get(3)).getPath();
        equal("what is left", children(zk, "/multi"), Set.of(b.substring(7)));
        equal("all at one zxid", zk.exists(b, false).getCzxid(), zk.exists("/multi", false).getPzxid());
        List<Integer> codes = new ArrayList<>();
        try {
            zk.multi(List.of(Op.create("/multi/x", b("1"), OPEN, CreateMode.PERSISTENT), Op.delete("/none", -1), Op.setData("/multi/x", b("2"), -1)));
            check("a multi with a failure", false, "it succeeded");
        } catch (KeeperException e) {
            equal("its cause", e.code(), Code.NONODE);
            for (OpResult x : e.getResults()) codes.add(((OpResult.ErrorResult) x).getErr());
        }
        equal("each one's code", codes, List.of(0, Code.NONODE.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()));
        equal("nothing of it happened", zk.exists("/multi/x", false), null);
        r = zk.multi(List.of(Op.getChildren("/multi"), Op.getData(b), Op.getData("/none")));
        equal("reads: children", ((OpResult.GetChildrenResult) r.get(0)).getChildren(), List.of(b.substring(7)));
        equal("reads: data", new String(((OpResult.GetDataResult) r.get(1)).getData()), "3");
        equal("reads: an error", ((OpResult.ErrorResult) r.get(2)).getErr(), Code.NONODE.intValue());
        zk.close();
    }

    static void auth() throws Exception {
        ZooKeeper bob = connect(port), other = connect(port), superuser = connect(port);
        bob.addAuthInfo("digest", b("bob:secret"));
        equal("create for its creator", bob.create("/bobs", b("x"), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT), "/bobs");
        equal("its ACL", bob.getACL("/bobs", null).get(0).getId().getScheme(), "digest");
        fails("another one's getData", Code.NOAUTH, () -> other.getData("/bobs", false, null));
        fails("another one's setData", Code.NOAUTH, () -> other.setData("/bobs", b("y"), -1));
        fails("another one's create", Code.NOAUTH, () -> make(other, "/bobs/x"));
        fails("another one's setACL", Code.NOAUTH, () -> other.setACL("/bobs", OPEN, -1));
        equal("deleting needs only the parent's leave", bob.exists("/bobs", false).getVersion(), 0);
        other.addAuthInfo("digest", b("bob:secret"));
        equal("with his word it may", new String(other.getData("/bobs", false, null)), "x");
        superuser.addAuthInfo("digest", b("super:test"));
        equal("the super user may", new String(superuser.getData("/bobs", false, null)), "x");
        Stat s = superuser.setACL("/bobs", ZooDefs.Ids.READ_ACL_UNSAFE, 0);
        equal("aversion", s.getAversion(), 1);
        fails("a stale aversion", Code.BADVERSION, () -> superuser.setACL("/bobs", OPEN, 0));
        fails("read only", Code.NOAUTH, () -> bob.setData("/bobs", b("y"), -1));
        fails("an unknown scheme", Code.INVALIDACL, () -> bob.create("/x", b("x"), Arrays.asList(new ACL(31, new Id("nosuch", "x"))), CreateMode.PERSISTENT));
        fails("auth: without an identity", Code.INVALIDACL, () -> { ZooKeeper z = connect(port); try { z.create("/x", b("x"), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT); } finally { z.close(); } });
        Set<String> who = new TreeSet<>();
        for (ClientInfo c : bob.whoAmI()) who.add(c.getAuthScheme() + ":" + c.getUser());
        equal("whoAmI", who, Set.of("digest:bob", "ip:127.0.0.1"));
        Events events = new Events();
        ZooKeeper wrong = connect(port, 20000, events);
        wrong.addAuthInfo("nosuch", b("x"));
        check("a scheme that no one knows ends it", events.state("AuthFailed", 10000), "no AuthFailed");
        for (ZooKeeper z : List.of(bob, other, superuser, wrong)) z.close();
    }

    static void watches() throws Exception {
        ZooKeeper zk = connect(port), other = connect(port);
        Events data = new Events(), exist = new Events(), child = new Events();
        make(zk, "/w");
        zk.getData("/w", data, null);
        zk.getChildren("/w", child);
        zk.exists("/w/new", exist);
        make(other, "/w/new");
        equal("exists", exist.nextOfNode(), "NodeCreated /w/new");
        equal("children", child.nextOfNode(), "NodeChildrenChanged /w");
        other.setData("/w", b("1"), -1);
        equal("data", data.nextOfNode(), "NodeDataChanged /w");
        other.setData("/w", b("2"), -1);
        make(other, "/w/newer");
        zk.sync("/w");
        equal("one event only", data.next(200) + child.next(1) + exist.next(1), "nothingnothingnothing");
        // The event comes before any reply that shows the change.
        List<String> order = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch done = new CountDownLatch(2);
        zk.getData("/w", e -> { order.add("event"); done.countDown(); }, null);
        other.setData("/w", b("3"), -1);
        zk.getData("/w", false, (rc, p, ctx, d, s) -> { order.add("reply " + new String(d)); done.countDown(); }, null);
        done.await(10, TimeUnit.SECONDS);
        if (order.get(0).equals("reply 2")) check("an older reply comes before the event", order.size() == 2, order);
        else equal("the event comes before the reply", order, List.of("event", "reply 3"));
        zk.getData("/w/new", data, null);
        zk.getChildren("/w/new", child);
        zk.exists("/w/new", exist);
        other.delete("/w/new", -1);
        equal("deleted: data", data.nextOfNode(), "NodeDeleted /w/new");
        equal("deleted: child", child.nextOfNode(), "NodeDeleted /w/new");
        equal("deleted: exists", exist.nextOfNode(), "NodeDeleted /w/new");
        zk.getData("/w", data, null);
        zk.removeWatches("/w", data, Watcher.WatcherType.Data, false);
        equal("removed", data.nextOfNode(), "DataWatchRemoved /w");
        fails("removed again", Code.NOWATCHER, () -> zk.removeWatches("/w", data, Watcher.WatcherType.Data, false));
        other.setData("/w", b("4"), -1);
        zk.sync("/w");
        equal("it is gone", data.next(200), "nothing");
        zk.close();
        other.close();
    }

    static void persistent() throws Exception {
        ZooKeeper zk = connect(port), other = connect(port);
        Events one = new Events(), all = new Events();
        make(zk, "/p");
        zk.addWatch("/p", one, AddWatchMode.PERSISTENT);
        zk.addWatch("/p", all, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int i = 0; i < 2; i++) {
            other.setData("/p", b("x"), -1);
            equal("persistent: data", one.nextOfNode(), "NodeDataChanged /p");
            equal("recursive: data", all.nextOfNode(), "NodeDataChanged /p");
            make(other, "/p/a");
            make(other, "/p/a/b");
            other.setData("/p/a/b", b("x"), -1);
            other.delete("/p/a/b", -1);
            other.delete("/p/a", -1);
            equal("persistent: a child came", one.nextOfNode(), "NodeChildrenChanged /p");
            equal("persistent: it went", one.nextOfNode(), "NodeChildrenChanged /p");
            for (String e : List.of("NodeCreated /p/a", "NodeCreated /p/a/b", "NodeDataChanged /p/a/b", "NodeDeleted /p/a/b", "NodeDeleted /p/a"))
                equal("recursive", all.nextOfNode(), e);
        }
        zk.removeWatches("/p", all, Watcher.WatcherType.PersistentRecursive, false);
        equal("recursive: removed", all.nextOfNode(), "PersistentWatchRemoved /p");
        other.setData("/p", b("y"), -1);
        equal("persistent stays", one.nextOfNode(), "NodeDataChanged /p");
        equal("recursive is gone", all.next(200), "nothing");
        zk.close();
        other.close();
    }

    static void broken() throws Exception {
        Proxy proxy = new Proxy(port);
        Events session = new Events(), data = new Events(), missing = new Events(), child = new Events(), keep = new Events(), all = new Events(), still = new Events();
        ZooKeeper zk = connect(proxy.port(), 20000, session), other = connect(port);
        long id = zk.getSessionId();
        for (String p : List.of("/r", "/r/data", "/r/parent", "/r/keep", "/r/all", "/r/still")) make(zk, p);
        make(zk, "/r/mine", CreateMode.EPHEMERAL);
        zk.getData("/r/data", data, null);
        zk.exists("/r/missing", missing);
        zk.getChildren("/r/parent", child);
        zk.getData("/r/still", still, null);
        zk.addWatch("/r/keep", keep, AddWatchMode.PERSISTENT);
        zk.addWatch("/r/all", all, AddWatchMode.PERSISTENT_RECURSIVE);
        proxy.cut();
        check("disconnected", session.state("Disconnected", 10000), "no event");
        other.setData("/r/data", b("1"), -1);
        make(other, "/r/missing");
        make(other, "/r/parent/c");
        proxy.mend();
        check("connected again", session.state("SyncConnected", 20000), "no event");
        equal("what changed meanwhile: data", data.nextOfNode(), "NodeDataChanged /r/data");
        equal("what changed meanwhile: exists", missing.nextOfNode(), "NodeCreated /r/missing");
        equal("what changed meanwhile: children", child.nextOfNode(), "NodeChildrenChanged /r/parent");
        equal("the same session", zk.getSessionId(), id);
        equal("its ephemeral is there", other.exists("/r/mine", false).getEphemeralOwner(), id);
        other.setData("/r/still", b("1"), -1);
        equal("a watch that did not fire is still there", still.nextOfNode(), "NodeDataChanged /r/still");
        other.setData("/r/keep", b("1"), -1);
        equal("persistent", keep.nextOfNode(), "NodeDataChanged /r/keep");
        make(other, "/r/all/x");
        equal("recursive", all.nextOfNode(), "NodeCreated /r/all/x");
        // Unanswered calls fail at the break, and are not sent again.
        CompletableFuture<Integer> rc = new CompletableFuture<>();
        proxy.stalled = true;
        zk.create("/r/lost", b("x"), OPEN, CreateMode.PERSISTENT, (code, p, ctx, name) -> rc.complete(code), null);
        Thread.sleep(100);
        proxy.cut();
        proxy.stalled = false;
        equal("an unanswered call", rc.get(10, TimeUnit.SECONDS), Code.CONNECTIONLOSS.intValue());
        proxy.mend();
        check("connected once more", session.state("SyncConnected", 20000), "no event");
        zk.close();
        equal("its ephemeral went with it", other.exists("/r/mine", false), null);
        other.close();
    }

    static void sessions() throws Exception {
        Proxy proxy = new Proxy(port);
        Events events = new Events(), gone = new Events();
        ZooKeeper zk = connect(proxy.port(), 2000, events), other = connect(port);
        equal("negotiated timeout", zk.getSessionTimeout(), 2000);
        make(zk, "/session", CreateMode.EPHEMERAL);
        other.exists("/session", gone);
        long start = System.nanoTime();
        proxy.cut();
        equal("its ephemeral goes", gone.nextOfNode(), "NodeDeleted /session");
        long ms = (System.nanoTime() - start) / 1000000;
        check("not before its time, and not long after", ms >= 1000 && ms < 8000, ms + " ms");
        proxy.mend();
        check("expired", events.state("Expired", 20000), "no event");
        fails("after it", Code.SESSIONEXPIRED, () -> zk.exists("/", false));
        // A session that another client object takes over.
        Events first = new Events(), second = new Events();
        ZooKeeper a = connect(port, 20000, first);
        make(a, "/taken", CreateMode.EPHEMERAL);
        ZooKeeper c = new ZooKeeper("127.0.0.1:" + port, 20000, second, a.getSessionId(), a.getSessionPasswd());
        check("taken over", second.state("SyncConnected", 10000), "no event");
        check("the first one is disconnected", first.state("Disconnected", 10000), "no event");
        equal("it owns the node", c.exists("/taken", false).getEphemeralOwner(), c.getSessionId());
        c.close();
        equal("closed by the second", other.exists("/taken", false), null);
        a.close();
        Events wrong = new Events();
        ZooKeeper w = new ZooKeeper("127.0.0.1:" + port, 20000, wrong, 0x1234567890L, new byte[16]);
        check("a session that is not", wrong.state("Expired", 10000), "no event");
        w.close();
        other.close();
    }

    static void killed(Server server) throws Exception {
        Events session = new Events(), keep = new Events();
        ZooKeeper zk = connect(port, 30000, session);
        make(zk, "/kill");
        make(zk, "/kill/mine", CreateMode.EPHEMERAL);
        zk.addWatch("/kill", keep, AddWatchMode.PERSISTENT);
        // Writes without a pause until the server is killed: what was answered must be there afterwards.
        ConcurrentLinkedQueue<String> answered = new ConcurrentLinkedQueue<>();
        CountDownLatch lost = new CountDownLatch(1);
        Thread writer = new Thread(() -> {
            for (int i = 0; lost.getCount() > 0 && i < 1000000; i++) {
                try { answered.add(zk.create("/kill/n-", b("x"), OPEN, CreateMode.PERSISTENT_SEQUENTIAL).substring(6)); }
                catch (Exception e) { lost.countDown(); }
            }
        });
        writer.start();
        Thread.sleep(500);
        server.kill();
        lost.await(20, TimeUnit.SECONDS);
        long id = zk.getSessionId();
        server.start();
        session.queue.clear();
        for (int i = 0; i < 200 && zk.getState() != ZooKeeper.States.CONNECTED; i++) Thread.sleep(100);
        equal("connected again", zk.getState(), ZooKeeper.States.CONNECTED);
        equal("the same session", zk.getSessionId(), id);
        Set<String> there = children(zk, "/kill");
        check("some were answered", answered.size() > 10, answered.size());
        check("all that was answered is there (" + answered.size() + ")", there.containsAll(answered), "some are lost");
        check("at most one more", there.size() <= answered.size() + 2, there.size());
        check("the ephemeral is there", there.contains("mine"), "gone");
        keep.queue.clear();
        zk.setData("/kill", b("y"), -1);
        equal("the watch is there", keep.nextOfNode(), "NodeDataChanged /kill");
        String next = zk.create("/kill/n-", b("x"), OPEN, CreateMode.PERSISTENT_SEQUENTIAL).substring(6);
        check("the next number is new", !there.contains(next), next);
        zk.close();
    }
}
