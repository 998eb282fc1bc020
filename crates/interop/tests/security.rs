//! Stock brokers and tools at a controller whose listener demands a certificate, or a password.

use quorate_interop::{Cluster, KafkaVersion, Outcome, Tool, ToolOutput, ensure};
use std::path::PathBuf;

/// Stores made for the tests of the TLS code: `openssl.p12` is for localhost and 127.0.0.1 and is
/// trusted by `openssl.crt`; `keys.p12` is a stranger.
fn store(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.join("../security/tests/fixtures").join(name).display().to_string()
}

fn ssl(keys: &str) -> Vec<(&'static str, String)> {
    vec![
        ("ssl.keystore.type", "PKCS12".to_owned()),
        ("ssl.keystore.location", store(keys)),
        ("ssl.keystore.password", "store-pw".to_owned()),
        ("ssl.key.password", "store-pw".to_owned()),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", store("openssl.crt")),
    ]
}

fn file(settings: &[(&'static str, String)]) -> String {
    settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// A tool at the controller, with a file of client settings.
fn at_controller(
    cluster: &Cluster,
    name: &str,
    settings: &[(&'static str, String)],
    tool: Tool,
    args: &[&str],
) -> Outcome<ToolOutput> {
    let config = cluster.write_file(name, &file(settings))?;
    let config = config.display().to_string();
    let mut all = vec!["--command-config", config.as_str()];
    all.extend(args);
    cluster.tool_via_controller(tool, &all)
}

#[test]
fn certificates_say_who_brokers_and_tools_are() -> Outcome<()> {
    let mut builder = Cluster::builder("mtls").brokers(1, KafkaVersion::V4_4_0);
    for (key, value) in ssl("openssl.p12") {
        builder = builder.controller_property(key, &value);
        builder = builder.broker_property(&format!("listener.name.controller.{key}"), &value);
    }
    let map = "CONTROLLER:SSL,PLAINTEXT:PLAINTEXT";
    let mut cluster = builder
        .controller_property("listener.security.protocol.map", map)
        .broker_property("listener.security.protocol.map", map)
        .controller_property("ssl.client.auth", "required")
        .controller_property(
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        )
        .controller_property("super.users", "User:CN=localhost,O=Quorate")
        .format()?;
    cluster.start_unwatched()?;

    let mut admin = ssl("openssl.p12");
    admin.push(("security.protocol", "SSL".to_owned()));
    let setting = ["--alter", "--entity-type", "brokers", "--entity-default"];
    let setting = [&setting[..], &["--add-config", "message.max.bytes=2000000"]].concat();
    at_controller(&cluster, "admin.properties", &admin, Tool::Configs, &setting)?.ok()?;

    // Whoever comes through the broker without a name is not its superuser.
    let create = ["--create", "--topic", "secret", "--partitions", "1"];
    cluster.tool(Tool::Topics, &create)?.refused_with("AuthorizationException")?;

    let mut stranger = ssl("keys.p12");
    stranger.push(("security.protocol", "SSL".to_owned()));
    at_controller(&cluster, "stranger.properties", &stranger, Tool::Configs, &setting)?
        .refused_with("SslAuthenticationException")?;
    cluster.finish()
}

fn sasl(mechanism: &str, user: &str, password: &str) -> Vec<(&'static str, String)> {
    let module = match mechanism {
        "PLAIN" => "plain.PlainLoginModule",
        _ => "scram.ScramLoginModule",
    };
    let mut settings = ssl("openssl.p12");
    settings.extend([
        ("security.protocol", "SASL_SSL".to_owned()),
        ("sasl.mechanism", mechanism.to_owned()),
        (
            "sasl.jaas.config",
            format!(
                "org.apache.kafka.common.security.{module} required username=\"{user}\" \
                 password=\"{password}\";"
            ),
        ),
    ]);
    settings
}

#[test]
fn passwords_let_brokers_and_tools_in() -> Outcome<()> {
    let mut builder = Cluster::builder("sasl").brokers(1, KafkaVersion::V4_3_0);
    for (key, value) in ssl("openssl.p12") {
        builder = builder.controller_property(key, &value);
        builder = builder.broker_property(&format!("listener.name.controller.{key}"), &value);
    }
    let map = "CONTROLLER:SASL_SSL,PLAINTEXT:PLAINTEXT";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"node\" password=\"node-pw\";";
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_admin=\"admin-pw\";";
    let mut cluster = builder
        .controller_property("listener.security.protocol.map", map)
        .broker_property("listener.security.protocol.map", map)
        .controller_property("sasl.enabled.mechanisms", "SCRAM-SHA-512,PLAIN")
        .controller_property("sasl.mechanism.controller.protocol", "SCRAM-SHA-512")
        .broker_property("sasl.mechanism.controller.protocol", "SCRAM-SHA-512")
        .controller_property("listener.name.controller.scram-sha-512.sasl.jaas.config", scram)
        .broker_property("listener.name.controller.scram-sha-512.sasl.jaas.config", scram)
        .controller_property("listener.name.controller.plain.sasl.jaas.config", plain)
        .format_argument("--add-scram")
        .format_argument("SCRAM-SHA-512=[name=node,password=node-pw]")
        .format()?;
    cluster.start_unwatched()?;
    let create = ["--create", "--topic", "orders", "--partitions", "3"];
    cluster.tool(Tool::Topics, &create)?.ok()?;

    let status = ["describe", "--status"];
    for (mechanism, user, password) in
        [("PLAIN", "admin", "admin-pw"), ("SCRAM-SHA-512", "node", "node-pw")]
    {
        let settings = sasl(mechanism, user, password);
        at_controller(&cluster, "right.properties", &settings, Tool::MetadataQuorum, &status)?
            .ok()?
            .says("LeaderId")?;
        let settings = sasl(mechanism, user, "wrong");
        at_controller(&cluster, "wrong.properties", &settings, Tool::MetadataQuorum, &status)?
            .refused_with("SaslAuthenticationException")?;
    }
    let log = std::fs::read_to_string(cluster.controller.log()).unwrap_or_default();
    ensure!(log.contains("authentication failed"), "the refusals are not in the log:\n{log}");
    ensure!(!log.contains("node-pw") && !log.contains("admin-pw"), "the log shows a password");
    cluster.finish()
}
