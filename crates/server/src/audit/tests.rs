//! Lines as they are written, of requests and answers put together by hand.

use super::file::audit_files;
use super::*;
use bytes::Bytes;
use quorate_controller::{EnvelopeSender, Principal};
use quorate_host::Fill;
use quorate_protocol::ErrorCode;
use quorate_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use quorate_protocol::messages::create_topics_request::CreatableTopic;
use quorate_protocol::messages::create_topics_response::CreatableTopicResult;
use quorate_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use quorate_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use quorate_protocol::messages::*;
use serde_json::Value;
use tempfile::TempDir;

struct Desk {
    dir: TempDir,
    audit: Audit,
}

fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let config = AuditConfig {
        enabled: true,
        dir: None,
        file_bytes: 1 << 20,
        file_age: Duration::from_secs(3600),
        total_bytes: 1 << 22,
        min_free_bytes: 0,
        routine: false,
    };
    let audit = Audit::start(&config, 1, dir.path(), true, Arc::default()).unwrap();
    Desk { dir, audit }
}

impl Desk {
    fn note(&self, request: AnyRequest, response: AnyResponse, written: Option<Written>) {
        let context = RequestContext {
            principal: Principal::user("alice"),
            client_id: Some("admin".into()),
            forwarded: true,
            envelope_sender: Some(EnvelopeSender {
                principal: Principal::user("broker-1"),
                address: "10.0.0.2".parse().unwrap(),
            }),
            ..RequestContext::internal(1)
        };
        self.note_from(context, request, response, written);
    }

    fn note_from(
        &self,
        context: RequestContext,
        request: AnyRequest,
        response: AnyResponse,
        written: Option<Written>,
    ) {
        let api = request.api_key();
        let frame = RequestFrame {
            api,
            version: context.api_version,
            correlation_id: 77,
            client_id: None,
            body: Bytes::new(),
        };
        let Some(pending) = self.audit.begin(&frame, &context, &request) else { return };
        let reply = Reply { response, fill: Fill::Nothing, written };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.audit.end(pending, Some(&reply), 1_795_387_105_123));
    }

    fn text(&self) -> String {
        self.audit.close();
        let files = audit_files(self.dir.path()).unwrap();
        files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    /// Without what the audit says of itself.
    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|it| it.get("event").is_none()).collect()
    }
}

fn create_topics(name: &str) -> AnyRequest {
    let topic = CreatableTopic { name: name.into(), num_partitions: 3, ..Default::default() };
    AnyRequest::CreateTopics(CreateTopicsRequest { topics: vec![topic], ..Default::default() })
}

fn created(names_and_errors: &[(&str, ErrorCode)]) -> AnyResponse {
    let mut response = CreateTopicsResponse::default();
    for (name, error) in names_and_errors {
        let name = (*name).into();
        let error_code = error.code();
        response.topics.push(CreatableTopicResult { name, error_code, ..Default::default() });
    }
    AnyResponse::CreateTopics(response)
}

#[test]
fn a_change_is_told_with_who_what_and_where_in_the_log() {
    let desk = desk();
    let written = Some(Written { first: 40, last: 43, epoch: 5 });
    desk.note(create_topics("orders"), created(&[("orders", ErrorCode::None)]), written);
    let lines = desk.lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let expected = json!({
        "time": "2026-11-22T22:38:25.123Z", "node": 1,
        "principal": "User:alice", "clientAddress": "127.0.0.1", "clientId": "admin",
        "listener": "CONTROLLER",
        "forwardedBy": { "principal": "User:broker-1", "address": "10.0.0.2" },
        "api": "CreateTopics", "version": 1, "correlationId": 77, "outcome": "accepted",
        "asked": { "validateOnly": false, "topics": [{
            "name": "orders", "numPartitions": 3, "replicationFactor": 0, "configs": {},
        }]},
        "results": [{ "item": "TOPIC:orders", "error": "NONE" }],
        "records": { "first": 40, "last": 43, "epoch": 5 },
    });
    assert_eq!(*line, expected);
}

#[test]
fn a_denial_names_operation_and_resource() {
    let desk = desk();
    let both = [("a", ErrorCode::None), ("b", ErrorCode::TopicAuthorizationFailed)];
    desk.note(create_topics("a"), created(&both), None);
    desk.note(create_topics("c"), created(&[("c", ErrorCode::TopicAuthorizationFailed)]), None);
    let denied = ElectLeadersResponse {
        error_code: ErrorCode::ClusterAuthorizationFailed.code(),
        ..Default::default()
    };
    let request = AnyRequest::ElectLeaders(ElectLeadersRequest::default());
    desk.note(request, AnyResponse::ElectLeaders(denied), None);
    let lines = desk.lines();
    let told = |at: usize| (lines[at]["outcome"].as_str().unwrap(), lines[at]["denied"].clone());
    let on = |what: &str, on: &str| json!([{ "operation": what, "resource": on }]);
    assert_eq!(told(0), ("partly", on("CREATE", "TOPIC:b")));
    assert_eq!(told(1), ("denied", on("CREATE", "TOPIC:c")));
    assert_eq!(told(2), ("denied", on("ALTER", "CLUSTER:kafka-cluster")));
}

#[test]
fn a_sender_that_may_not_forward_is_named() {
    let desk = desk();
    let denied = EnvelopeResponse {
        error_code: ErrorCode::ClusterAuthorizationFailed.code(),
        ..Default::default()
    };
    desk.note(create_topics("x"), AnyResponse::Envelope(denied), None);
    let lines = desk.lines();
    assert_eq!(lines[0]["deniedPrincipal"], "User:broker-1");
    assert_eq!(lines[0]["denied"][0]["operation"], "CLUSTER_ACTION");
}

#[test]
fn looking_is_told_only_where_it_is_denied() {
    let desk = desk();
    for error in [ErrorCode::None, ErrorCode::ClusterAuthorizationFailed] {
        let response = FetchResponse { error_code: error.code(), ..Default::default() };
        let request = AnyRequest::Fetch(FetchRequest::default());
        desk.note(request, AnyResponse::Fetch(response), None);
    }
    let lines = desk.lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["denied"][0]["operation"], "CLUSTER_ACTION");
    assert_eq!(line.get("asked"), None);
}

#[test]
fn what_went_to_the_wrong_node_is_no_change_unless_it_wrote() {
    let desk = desk();
    let elsewhere = || created(&[("t", ErrorCode::NotController)]);
    desk.note(create_topics("t"), elsewhere(), None);
    desk.note(create_topics("t"), elsewhere(), Some(Written { first: 1, last: 1, epoch: 2 }));
    let lines = desk.lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["outcome"], "unknown");
}

#[test]
fn heartbeats_are_told_when_they_change_something() {
    let desk = desk();
    for written in [None, Some(Written { first: 9, last: 9, epoch: 1 })] {
        let request = AnyRequest::BrokerHeartbeat(BrokerHeartbeatRequest::default());
        let response = AnyResponse::BrokerHeartbeat(BrokerHeartbeatResponse::default());
        desk.note(request, response, written);
        let request = AnyRequest::AlterPartition(AlterPartitionRequest::default());
        let response = AnyResponse::AlterPartition(AlterPartitionResponse::default());
        desk.note(request, response, written);
    }
    let lines = desk.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["api"], "BrokerHeartbeat");
}

#[test]
fn secrets_are_left_out() {
    let desk = desk();
    let upsertion = ScramCredentialUpsertion {
        name: "bob".into(),
        mechanism: 1,
        iterations: 4096,
        salt: Bytes::from_static(b"SALT-bytes"),
        salted_password: Bytes::from_static(b"SECRET-bytes"),
        ..Default::default()
    };
    let request =
        AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() };
    let response = AlterUserScramCredentialsResponse::default();
    desk.note(
        AnyRequest::AlterUserScramCredentials(request),
        AnyResponse::AlterUserScramCredentials(response),
        None,
    );
    for (kind, name) in [(4, "ssl.keystore.password"), (2, "sasl.jaas.config"), (4, "unheard.of")] {
        let value = Some("SECRET-value".into());
        let config = AlterableConfig { name: name.into(), value, ..Default::default() };
        let resource = AlterConfigsResource {
            resource_type: kind,
            resource_name: "1".into(),
            configs: vec![config],
            ..Default::default()
        };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let refused = AlterConfigsResourceResponse {
            error_code: ErrorCode::InvalidConfig.code(),
            error_message: Some("Invalid value SECRET-value".into()),
            resource_type: kind,
            resource_name: "1".into(),
            ..Default::default()
        };
        let response =
            IncrementalAlterConfigsResponse { responses: vec![refused], ..Default::default() };
        desk.note(
            AnyRequest::IncrementalAlterConfigs(request),
            AnyResponse::IncrementalAlterConfigs(response),
            None,
        );
    }
    let renewal = RenewDelegationTokenRequest {
        hmac: Bytes::from_static(b"SECRET-hmac"),
        ..Default::default()
    };
    let response = RenewDelegationTokenResponse::default();
    desk.note(
        AnyRequest::RenewDelegationToken(renewal),
        AnyResponse::RenewDelegationToken(response),
        None,
    );
    let issued = CreateDelegationTokenResponse {
        token_id: "token-7".into(),
        hmac: Bytes::from_static(b"SECRET-hmac"),
        ..Default::default()
    };
    let request = AnyRequest::CreateDelegationToken(CreateDelegationTokenRequest::default());
    desk.note(request, AnyResponse::CreateDelegationToken(issued), None);
    let text = desk.text();
    assert!(!text.contains("SECRET") && !text.contains("SALT"), "{text}");
    for told in ["bob", "SCRAM-SHA-256", "ssl.keystore.password", "(hidden)", "token-7"] {
        assert!(text.contains(told), "{told} in {text}");
    }
}

#[test]
fn a_process_without_audit_writes_nothing() {
    let desk = Desk { dir: tempfile::tempdir().unwrap(), audit: Audit::default() };
    desk.note(create_topics("t"), created(&[("t", ErrorCode::None)]), None);
    assert_eq!(desk.text(), "");
}
