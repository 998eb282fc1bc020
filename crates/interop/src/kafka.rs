use crate::binary::workspace_root;
use crate::{Failure, Outcome};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases of Apache Kafka that tests start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KafkaVersion {
    /// The last with ZooKeeper; brokers need a cluster formatted at 3.9-IV0.
    V3_9_1,
    V4_1_1,
    V4_3_0,
    /// Only its command-line tools are used, for 4.4.0, which has none published.
    V4_3_1,
    V4_4_0,
}

impl KafkaVersion {
    /// As Maven knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            KafkaVersion::V3_9_1 => "3.9.1",
            KafkaVersion::V4_1_1 => "4.1.1",
            KafkaVersion::V4_3_0 => "4.3.0",
            KafkaVersion::V4_3_1 => "4.3.1",
            KafkaVersion::V4_4_0 => "4.4.0",
        }
    }

    /// The metadata.version to format a cluster at so that brokers of this version can join,
    /// as `--release-version` takes it.
    pub fn release_version(self) -> &'static str {
        match self {
            KafkaVersion::V3_9_1 => "3.9-IV0",
            KafkaVersion::V4_1_1 => "4.1",
            KafkaVersion::V4_3_0 | KafkaVersion::V4_3_1 => "4.3",
            KafkaVersion::V4_4_0 => "4.4",
        }
    }

    /// Whose command-line tools drive a cluster of this version.
    pub fn tools(self) -> KafkaVersion {
        if self == KafkaVersion::V4_4_0 { KafkaVersion::V4_3_1 } else { self }
    }

    /// The folder with the jars, filled by `cargo xtask fetch-kafka`.
    pub fn libs(self) -> Outcome<PathBuf> {
        let libs = cache_dir().join("kafka").join(self.as_str()).join("libs");
        if libs.join(format!("kafka_2.13-{self}.jar")).is_file() {
            return Ok(libs);
        }
        Err(Failure(format!(
            "the jars of Apache Kafka {self} are not in {}: run `cargo xtask fetch-kafka` (needs \
             Java 17 and Maven), or run these tests by `cargo xtask test`",
            libs.display()
        )))
    }

    /// `java` with this version's jars, a heap of so many MiB and logging at `level` to stderr.
    /// What follows is the main class and its arguments.
    pub fn java(self, heap_mib: u32, level: &str) -> Outcome<Command> {
        let libs = self.libs()?;
        let mut classpath = OsString::from(libs);
        classpath.push("/*");
        let mut command = Command::new("java");
        command
            .arg(format!("-Xmx{heap_mib}m"))
            // Two cores run several JVMs: the cheap collector and the cheap compiler.
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
            .arg(format!("-Dlog4j2.configurationFile={}", log_config(level, "xml")?.display()))
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                log_config(level, "properties")?.display()
            ))
            .arg("-cp")
            .arg(classpath);
        Ok(command)
    }
}

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kafka's command-line tools, by the name of their script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    Acls,
    Topics,
    Configs,
    ConsoleProducer,
    ConsoleConsumer,
    ConsumerGroups,
    LeaderElection,
    BrokerApiVersions,
    Cluster,
    MetadataQuorum,
    Features,
    ProducerPerformance,
    VerifiableProducer,
    VerifiableConsumer,
    Transactions,
    ReassignPartitions,
    DumpLog,
    Storage,
}

impl Tool {
    /// The class behind the script: some moved from the core jar to the tools jar over time.
    pub fn class(self, version: KafkaVersion) -> &'static str {
        let old = version == KafkaVersion::V3_9_1;
        match self {
            Tool::Acls if old => "kafka.admin.AclCommand",
            Tool::Acls => "org.apache.kafka.tools.AclCommand",
            Tool::Topics => "org.apache.kafka.tools.TopicCommand",
            Tool::Configs => "kafka.admin.ConfigCommand",
            Tool::ConsoleProducer if old => "kafka.tools.ConsoleProducer",
            Tool::ConsoleProducer => "org.apache.kafka.tools.ConsoleProducer",
            Tool::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
            Tool::ConsumerGroups => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            Tool::LeaderElection => "org.apache.kafka.tools.LeaderElectionCommand",
            Tool::BrokerApiVersions if old => "kafka.admin.BrokerApiVersionsCommand",
            Tool::BrokerApiVersions => "org.apache.kafka.tools.BrokerApiVersionsCommand",
            Tool::Cluster => "org.apache.kafka.tools.ClusterTool",
            Tool::MetadataQuorum => "org.apache.kafka.tools.MetadataQuorumCommand",
            Tool::Features => "org.apache.kafka.tools.FeatureCommand",
            Tool::ProducerPerformance => "org.apache.kafka.tools.ProducerPerformance",
            Tool::VerifiableProducer => "org.apache.kafka.tools.VerifiableProducer",
            Tool::VerifiableConsumer => "org.apache.kafka.tools.VerifiableConsumer",
            Tool::Transactions => "org.apache.kafka.tools.TransactionsCommand",
            Tool::ReassignPartitions => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            Tool::DumpLog if version >= KafkaVersion::V4_3_0 => {
                "org.apache.kafka.tools.DumpLogSegments"
            }
            Tool::DumpLog => "kafka.tools.DumpLogSegments",
            Tool::Storage => "kafka.tools.StorageTool",
        }
    }
}

fn cache_dir() -> PathBuf {
    match std::env::var_os("QUORATE_CACHE") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => workspace_root().join("target").join("cache"),
    }
}

/// Writes (once a process) the logging configuration: log4j 2's for 4.x, log4j 1's for 3.9.
fn log_config(level: &str, extension: &str) -> Outcome<PathBuf> {
    let name = format!("{level}.{extension}");
    let file = cache_dir().join("log-config").join(name);
    let text = match extension {
        "xml" => format!(
            "<Configuration status=\"ERROR\"><Appenders><Console name=\"C\" target=\"SYSTEM_ERR\">\
             <PatternLayout pattern=\"[%d] %p %m (%c)%n\"/></Console></Appenders><Loggers>\
             <Root level=\"{level}\"><AppenderRef ref=\"C\"/></Root></Loggers></Configuration>\n"
        ),
        _ => format!(
            "log4j.rootLogger={level}, C\n\
             log4j.appender.C=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.C.Target=System.err\n\
             log4j.appender.C.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.C.layout.ConversionPattern=[%d] %p %m (%c)%n\n"
        ),
    };
    write_if_absent(&file, &text)?;
    Ok(file)
}

fn write_if_absent(file: &Path, text: &str) -> Outcome<()> {
    if file.is_file() {
        return Ok(());
    }
    let fault = |e: std::io::Error| Failure(format!("cannot write {}: {e}", file.display()));
    std::fs::create_dir_all(file.parent().unwrap_or(file)).map_err(fault)?;
    std::fs::write(file, text).map_err(fault)
}
