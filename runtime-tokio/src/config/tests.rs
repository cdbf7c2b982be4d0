//! Configuration files: what is read, what warns, what is refused.
use super::*;

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
        refused("server.1=a:1:2\nserver.2=b:1:2")
            .starts_with("zoo.cfg, line 4: server.2 makes this server part")
    );
    assert!(
        refused("dynamicConfigFile=/x")
            .starts_with("zoo.cfg, line 3: dynamicConfigFile makes this server part")
    );
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
    assert!(addr("localhost:2888:3888;x").unwrap_err().to_string().contains("line 2: server.1=localhost"));
    assert!(matches!(addr("localhost:2888:3888"), Err(ConfigError::Missing { key: "clientPort", .. })));
}
