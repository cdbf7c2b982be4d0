//! Configuration files: what is read, what warns, what is refused.
use super::*;
use zebu_core::config::{ElectionTimes, EnsembleConfig};
use zebu_core::id::ServerId;
use zebu_core::quorum::{ConfigRules, QuorumVerifier};

fn parse(text: &str) -> Result<(ServerConfig, Vec<Warning>), ConfigError> {
    ServerConfig::parse(Path::new("zoo.cfg"), text.as_bytes())
}
/// Parses `lines` behind two lines that every file needs; they are lines 1 and 2.
fn with(lines: &str) -> (ServerConfig, Vec<String>) {
    let (config, warnings) = parse(&format!("dataDir=/d\nclientPort=2181\n{lines}")).unwrap();
    (config, warnings.iter().map(Warning::to_string).collect())
}
fn refused(lines: &str) -> String {
    parse(&format!("dataDir=/d\nclientPort=2181\n{lines}")).unwrap_err().to_string()
}

#[test]
fn defaults_are_zookeepers() {
    let (config, warnings) = with("");
    assert_eq!(warnings, Vec::<String>::new());
    let mut want = ServerConfig::new("[::]:2181".parse().unwrap(), "/d");
    want.file = Some("zoo.cfg".into());
    want.core.tick_ms = 3000;
    want.core.min_session_timeout_ms = 6000;
    want.core.max_session_timeout_ms = 60_000;
    assert_eq!(config, want);
}

#[test]
fn every_key_lands_where_it_belongs() {
    let (config, warnings) = with(
        "dataLogDir=/l\nclientPortAddress=127.0.0.1\nclientPortListenBacklog=7\n\
        tickTime=200\nminSessionTimeout=100\nmaxSessionTimeout=900\nmaxClientCnxns=0\nmaxCnxns=5\n\
        globalOutstandingLimit=9\nsnapCount=10\nsnapSizeLimitInKb=2\ntxnLogSizeLimitInKb=3\n\
        autopurge.snapRetainCount=4\nautopurge.purgeInterval=6\n4lw.commands.whitelist=ruok, mntr\n\
        extendedTypesEnabled=true\ndigest.enabled=FALSE\nskipACL=yes\nsnapshot.trust.empty=true\n\
        DigestAuthenticationProvider.superDigest=super:xyz=\ndatadir.autocreate=false\nreadonlymode.enabled=true\n\
        znode.container.checkIntervalMs=11\nznode.container.maxPerMinute=12\nznode.container.maxNeverUsedIntervalMs=13\n\
        initLimit=10\nsyncLimit=5\nadmin.enableServer=false\nadmin.serverPort=8080\nforceSync=yes\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.data_log_dir, Path::new("/l"));
    assert_eq!(config.client_addr, "127.0.0.1:2181".parse().unwrap());
    assert_eq!((config.listen_backlog, config.autocreate), (7, false));
    let want = Config {
        tick_ms: 200,
        min_session_timeout_ms: 100,
        max_session_timeout_ms: 900,
        max_client_cnxns: 0,
        max_cnxns: 5,
        global_outstanding_limit: 9,
        four_letter_words: FourLetterWords::Only(vec!["ruok".into(), "mntr".into(), "isro".into()]),
        snap_count: 10,
        snap_size_limit: 2048,
        log_size_limit: 3072,
        digest_enabled: false,
        extended_types: true,
        snap_retain_count: 4,
        purge_interval_h: 6,
        container_check_ms: 11,
        container_max_per_minute: 12,
        container_max_never_used_ms: 13,
        skip_acl: true,
        super_digest: Some("super:xyz=".into()),
        trust_empty_snapshot: true,
        ..Config::default()
    };
    assert_eq!(config.core, want);
}

#[test]
fn prefix_and_duplicates() {
    let (config, warnings) =
        with("zookeeper.snapCount=10\nsnapCount=20\ntickTime=1\ntickTime=2\n4lw.commands.whitelist=*");
    assert_eq!(config.core.snap_count, 20);
    assert_eq!(config.core.tick_ms, 2);
    assert_eq!(config.core.four_letter_words, FourLetterWords::All);
    assert_eq!(warnings, ["line 6: 'tickTime' was already set on line 5; this line counts"]);
}

#[test]
fn warnings_have_line_and_name() {
    let (_, warnings) = with(
        "foo=1\nssl.keyStore.location=/k\njute.maxbuffer=4194304\n\
        autopurge.snapRetainCount=1\nforceSync=no\nadmin.enableServer=true\nmetricsProvider.className=x\njaasConfig=/j",
    );
    assert_eq!(
        warnings,
        [
            "line 3: unknown key 'foo' is ignored",
            "line 4: 'ssl.keyStore.location' is not supported yet and is ignored",
            "line 5: 'jute.maxbuffer' is honoured; a Java server would ignore it in this file and wants it on its command line",
            "line 6: 'autopurge.snapRetainCount' is too small; 3 is used",
            "line 7: 'forceSync' is ignored: what is acknowledged is always on disk",
            "line 8: 'admin.enableServer' is not supported yet and is ignored",
            "line 9: 'metricsProvider.className' is not supported yet and is ignored",
            "line 10: 'jaasConfig' is not supported yet and is ignored",
        ]
    );
    let (_, warnings) = parse("dataDir=data\nclientPort=1").unwrap();
    assert!(warnings[0].to_string().starts_with("line 1: the path of 'dataDir' is relative"));
}

#[test]
fn errors_have_file_line_value_and_remedy() {
    for (lines, want) in [
        ("tickTime=0", "zoo.cfg, line 3: tickTime=0 is not valid: give a whole number from 1 to 107374182"),
        (
            "tickTime=fast",
            "zoo.cfg, line 3: tickTime=fast is not valid: give a whole number from 1 to 107374182",
        ),
        (
            "clientPort=65536",
            "zoo.cfg, line 3: clientPort=65536 is not valid: give a whole number from 0 to 65535",
        ),
        ("digest.enabled=yes", "zoo.cfg, line 3: digest.enabled=yes is not valid: choose true or false"),
        ("skipACL=true", "zoo.cfg, line 3: skipACL=true is not valid: choose yes or no"),
        (
            "\nminSessionTimeout=70000",
            "zoo.cfg, line 4: minSessionTimeout=70000 is not valid: it must not exceed maxSessionTimeout, which is 60000",
        ),
        ("dataLogDir=", "zoo.cfg, line 3: dataLogDir= is not valid: give the path of a folder"),
        (
            "x=\\u12",
            "zoo.cfg, line 3: \\u must be followed by four hexadecimal digits; write \\\\ for a backslash",
        ),
        (
            "clientPortAddress=256.0.0.1",
            "zoo.cfg, line 3: clientPortAddress=256.0.0.1 is not valid: give an address or a host name that this machine resolves",
        ),
        (
            "DigestAuthenticationProvider.superDigest=x",
            "zoo.cfg, line 3: DigestAuthenticationProvider.superDigest=x is not valid: give super:<base64 of the SHA-1 of super:password>",
        ),
    ] {
        assert_eq!(refused(lines), want);
    }
    assert!(
        refused("enforce.auth.enabled=true")
            .starts_with("zoo.cfg, line 3: enforce.auth.enabled cannot be enforced")
    );
    assert_eq!(with("enforce.auth.enabled=false").1, Vec::<String>::new());
    let missing = parse("dataDir=/d").unwrap_err().to_string();
    assert_eq!(missing, "zoo.cfg: clientPort is missing: add a line such as clientPort=2181");
    let missing = parse("clientPort=1").unwrap_err().to_string();
    assert_eq!(missing, "zoo.cfg: dataDir is missing: add a line such as dataDir=/var/lib/zookeeper");
    let unreadable = ServerConfig::load(Path::new("/no/such/zoo.cfg")).unwrap_err().to_string();
    assert!(unreadable.starts_with("cannot read the configuration file /no/such/zoo.cfg: No such file"));
}

#[test]
fn the_only_server_line_may_give_the_client_port() {
    let addr =
        |line: &str| parse(&format!("dataDir=/d\nserver.1={line}")).map(|(c, _)| c.client_addr.to_string());
    assert_eq!(addr("localhost:2888:3888;2181").unwrap(), "[::]:2181");
    assert_eq!(addr("localhost:2888:3888:participant;127.0.0.1:2182").unwrap(), "127.0.0.1:2182");
    assert_eq!(addr("localhost:2888:3888;[::1]:2182").unwrap(), "[::1]:2182");
    assert_eq!(
        addr("localhost:2888:3888;x").unwrap_err().to_string(),
        "zoo.cfg, line 2: server.1: a port is a number up to 65535"
    );
    let both = parse("dataDir=/d\nclientPort=1\nserver.1=localhost:2888:3888;2").unwrap().0;
    assert_eq!(both.client_addr.port(), 1);
    assert!(matches!(addr("localhost:2888:3888"), Err(ConfigError::Missing { key: "clientPort", .. })));
}

/// Parses `lines` as a zoo.cfg in a folder of its own with its data; `D` in them stands for that folder.
struct Folder(tempfile::TempDir);
impl Folder {
    fn new(myid: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("myid", myid);
        folder
    }
    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }
    fn load(&self, lines: &str) -> Result<(ServerConfig, Vec<String>), String> {
        let lines = lines.replace("D/", &format!("{}/", self.path()));
        self.write("zoo.cfg", &format!("dataDir={}\ninitLimit=10\nsyncLimit=5\n{lines}", self.path()));
        let loaded = ServerConfig::load(&self.0.path().join("zoo.cfg"));
        let shorten = |text: String| text.replace(&self.path(), "D");
        loaded
            .map(|(config, warnings)| (config, warnings.iter().map(Warning::to_string).collect()))
            .map_err(|e| shorten(e.to_string()))
    }
}
const THREE: &str = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n";

#[test]
fn three_lines_and_myid_make_a_member() {
    let folder = Folder::new(" 2 \nmore");
    let (config, warnings) = folder.load(&format!("clientPort=2181\n{THREE}")).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.core.server_id, ServerId(2));
    let got = config.core.ensemble.unwrap();
    let members = QuorumVerifier::parse(THREE, ConfigRules::default()).unwrap();
    assert_eq!(got, EnsembleConfig::new(members));
    assert!(!config.quorum_listen_on_all_ips);
}

#[test]
fn every_key_of_an_ensemble_lands_where_it_belongs() {
    let folder = Folder::new("4");
    let lines = "clientPortAddress=127.0.0.1\ntickTime=100\ninitLimit=7\nsyncLimit=6\npeerType=observer\nelectionAlg=3\n\
        standaloneEnabled=false\nreconfigEnabled=true\nlocalSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\nreadonlymode.enabled=true\nmultiAddress.enabled=true\nquorumListenOnAllIPs=true\n\
        cnxTimeout=11\nquorumCnxnTimeoutMs=12\nzookeeper.fastleader.minNotificationInterval=13\n\
        fastleader.maxNotificationInterval=14\nobserver.election.DelayMs=15\nzookeeper.commitLogCount=900\n\
        electionPortBindRetry=0\nsnapshotSizeFactor=0.5\nzookeeper.forceSnapshotSync=true\nleaderServes=no\nleader.maxTimeToWaitForEpoch=16\n\
        observerMasterPort=2191\nzookeeper.observerMaster.sizeLimit=1000\nclientPort=9\n\
        server.1=a:1:2|b:1:2\nserver.2=[::1]:1:2:participant\nserver.3=c:1:2\nserver.4=d:1:2:observer;127.0.0.1:9\n\
        group.1=1:2:3\nweight.1=2\nversion=1f";
    let (config, warnings) = folder.load(lines).unwrap();
    assert_eq!(
        warnings,
        [
            "line 6: 'initLimit' was already set on line 2; this line counts",
            "line 7: 'syncLimit' was already set on line 3; this line counts",
            "line 15: 'multiAddress.enabled' is honoured; a Java server would ignore it in this file and wants it on its command line"
        ]
    );
    assert!(config.quorum_listen_on_all_ips);
    assert_eq!(config.election_port_bind_retry, 0);
    assert_eq!(config.client_addr, "127.0.0.1:9".parse().unwrap());
    let rules = ConfigRules { standalone_enabled: false, multi_address: true };
    let text = "server.1=a:1:2|b:1:2\nserver.2=[::1]:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer;127.0.0.1:9\n\
        group.1=1:2:3\nweight.1=2\nversion=1f";
    let want = EnsembleConfig {
        init_limit: 7,
        sync_limit: 6,
        reconfig_enabled: true,
        local_sessions: true,
        local_upgrading: true,
        read_only_mode: true,
        rules,
        commit_log_count: 900,
        snapshot_size_factor: Some(500),
        force_snapshot_sync: true,
        observer_master_port: Some(2191),
        observer_size_limit: 1000,
        leader_serves: false,
        max_time_to_wait_for_epoch_ms: Some(16),
        election: ElectionTimes {
            dial_timeout_ms: 11,
            handshake_timeout_ms: Some(12),
            min_notification_ms: 13,
            max_notification_ms: 14,
            observer_delay_ms: 15,
            ..ElectionTimes::default()
        },
        ..EnsembleConfig::new(QuorumVerifier::parse(text, rules).unwrap())
    };
    assert_eq!(config.core.ensemble, Some(want));
}

#[test]
fn sizes_of_ensembles() {
    let folder = Folder::new("1");
    let warnings = |lines: &str| folder.load(&format!("clientPort=2181\n{lines}")).unwrap();
    let (alone, warned) = warnings("server.1=a:1:2");
    assert_eq!(alone.core.ensemble, None);
    assert_eq!(warned, ["line 5: 'server.1' names the only server: it runs standalone, not as an ensemble"]);
    let (of_one, warned) = warnings("standaloneEnabled=false\nserver.1=a:1:2");
    assert_eq!(of_one.core.ensemble.unwrap().members.voters().count(), 1);
    assert!(warned[0].contains("with 1 voting servers no failure"), "{warned:?}");
    let (_, warned) = warnings("server.1=a:1:2\nserver.2=b:1:2");
    assert!(warned[0].starts_with("line 6: with 2 voting servers no failure"), "{warned:?}");
    let (_, warned) = warnings(&format!("{THREE}server.4=d:1:2\npeerType=observer"));
    assert_eq!(
        warned,
        [
            "line 8: 4 voting servers tolerate no more failures than 3 would; consider an odd number",
            "line 9: 'peerType' is not what this server's line in the list says; the list counts"
        ]
    );
}

#[test]
fn dynamic_files() {
    let folder = Folder::new("3");
    let lines = "clientPort=2181\ndynamicConfigFile=D/zoo.cfg.dynamic.10000000a\n";
    let unreadable = folder.load(lines).unwrap_err();
    assert!(unreadable.starts_with("cannot read the configuration file D/zoo.cfg.dynamic"), "{unreadable}");
    folder.write("zoo.cfg.dynamic.10000000a", THREE);
    let ensemble = folder.load(lines).unwrap().0.core.ensemble.unwrap();
    assert_eq!((ensemble.members.version, ensemble.proposed), (0x1_0000_000a, None));
    folder.write("zoo.cfg.dynamic.next", &format!("{THREE}server.4=d:1:2\nversion=10000000b"));
    let ensemble = folder.load(lines).unwrap().0.core.ensemble.unwrap();
    assert_eq!(ensemble.proposed.map(|v| (v.version, v.voters().count())), Some((0x1_0000_000b, 4)));
    let both = folder.load(&format!("{lines}server.1=a:1:2")).unwrap_err();
    assert!(both.ends_with("server.1=a:1:2 is not valid: with dynamicConfigFile it must stand in that file"));
    folder.write("zoo.cfg.dynamic.10000000a", &format!("{THREE}version=1"));
    assert!(folder.load(lines).unwrap_err().starts_with("D/zoo.cfg.dynamic.10000000a, line 4: version=1"));
    folder.write("zoo.cfg.dynamic.10000000a", &format!("{THREE}tickTime=1"));
    assert!(folder.load(lines).unwrap_err().ends_with("line 4: unrecognised parameter: tickTime"));
}

#[test]
fn what_a_member_lacks() {
    let refuse =
        |folder: &Folder, lines: &str| folder.load(&format!("clientPort=2181\n{lines}")).unwrap_err();
    let folder = Folder::new("1");
    for (lines, want) in [
        ("server.1=a:1:2\nserver.2=b:1", "D/zoo.cfg, line 6: server.2: not of the form"),
        ("server.1=a:1:2\nserver.2=b:1:2|c:1:2", "D/zoo.cfg, line 6: server.2: several addresses need"),
        ("server.1=a:1:2\nserver.2=b:1:2:observer", "D/zoo.cfg: observers of a single participant"),
        ("standaloneEnabled=false", "D/zoo.cfg: server.N is missing: standaloneEnabled=false"),
        (
            "server.1=a:1:2;2182\nserver.2=b:1:2",
            "D/zoo.cfg, line 4: clientPort=2181 is not valid: the line of this server says 0.0.0.0:2182",
        ),
        ("electionAlg=0", "D/zoo.cfg, line 5: electionAlg=0 is not valid: only 3"),
        (
            "peerType=leader",
            "D/zoo.cfg, line 5: peerType=leader is not valid: choose participant or observer",
        ),
        (&format!("{THREE}initLimit=0"), "D/zoo.cfg: initLimit is missing: an ensemble needs it"),
        (&format!("{THREE}syncLimit=0"), "D/zoo.cfg: syncLimit is missing: an ensemble needs it"),
        (&format!("{THREE}group.1=1:2"), "D/zoo.cfg: server 3 is not in a group"),
        (
            &format!("{THREE}sslQuorum=true"),
            "D/zoo.cfg, line 8: sslQuorum cannot be enforced by this version",
        ),
    ] {
        let got = refuse(&folder, lines);
        assert!(got.starts_with(want), "{lines}: {got}");
    }
    let remedy = "write this server's number into it, the N of its server.N line (1, 2, 3)";
    for (myid, want) in [
        ("", "D/myid holds '', which is no number"),
        ("one\n", "D/myid holds 'one', which is no number"),
        ("4\n", "D/myid holds 4, which is no server of the configuration"),
    ] {
        assert_eq!(refuse(&Folder::new(myid), THREE), format!("{want}: {remedy}"));
    }
    std::fs::remove_file(folder.0.path().join("myid")).unwrap();
    assert_eq!(refuse(&folder, THREE), format!("D/myid is missing: {remedy}"));
    let large = Folder::new("255");
    let lines = format!("extendedTypesEnabled=true\n{THREE}server.255=d:1:2");
    assert!(refuse(&large, &lines).contains("the largest number is 254"));
    // Alone, nothing is missed.
    assert!(folder.load("clientPort=1\nsslQuorum=true\nserver.1=a:1:2").is_ok());
}
