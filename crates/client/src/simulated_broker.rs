use crate::admin::refuse_unless_none;
use crate::{ClientError, Connection, Options};
use quorate_base::Uuid;
use quorate_protocol::messages::broker_registration_request::{
    BrokerRegistrationRequest, Feature, Listener,
};
use quorate_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, KStr};

/// Registers with a controller, heartbeats and asks to be unfenced, and holds no data.
#[derive(Debug)]
pub struct SimulatedBroker {
    /// Its `node.id`.
    pub id: i32,
    /// This life of it.
    pub incarnation_id: Uuid,
    /// Given by the controller at registration.
    pub epoch: i64,
    connection: Connection,
}

impl SimulatedBroker {
    /// Registers at the controller `host:port`; the broker is fenced at first.
    pub fn register(
        controller: &str,
        cluster_id: &str,
        id: i32,
        incarnation_id: Uuid,
        directory_id: Uuid,
    ) -> Result<SimulatedBroker, ClientError> {
        let options = Options { client_id: id.to_string(), ..Options::default() };
        let mut connection = Connection::connect(controller, options)?;
        // Any finalised feature must be within the range that a broker says it can do.
        let features = connection
            .api_versions()
            .finalized_features
            .iter()
            .map(|feature| Feature {
                name: feature.name.clone(),
                min_supported_version: 1,
                max_supported_version: feature.max_version_level.max(1),
                ..Default::default()
            })
            .collect();
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: KStr::from(cluster_id),
            incarnation_id,
            listeners: vec![Listener {
                name: KStr::from("PLAINTEXT"),
                host: KStr::from("127.0.0.1"),
                // Nobody connects to it, but a port of zero would be refused.
                port: 9092,
                security_protocol: 0,
                ..Default::default()
            }],
            features,
            log_dirs: vec![directory_id],
            ..Default::default()
        };
        let AnyResponse::BrokerRegistration(answer) =
            connection.send(&AnyRequest::BrokerRegistration(request))?
        else {
            return Err(connection.not_the_answer(ApiKey::BrokerRegistration));
        };
        refuse_unless_none(&format!("register broker {id}"), answer.error_code)?;
        Ok(SimulatedBroker { id, incarnation_id, epoch: answer.broker_epoch, connection })
    }

    /// One heartbeat of a broker that wants to serve and has all metadata.
    pub fn heartbeat(&mut self) -> Result<BrokerHeartbeatResponse, ClientError> {
        self.send_heartbeat(false, false)
    }

    /// One heartbeat that asks for a controlled shutdown.
    pub fn want_shutdown(&mut self) -> Result<BrokerHeartbeatResponse, ClientError> {
        self.send_heartbeat(false, true)
    }

    /// Goes on with the same registration at another controller `host:port`, as a broker does when
    /// the leader moves.
    pub fn reconnect(&mut self, controller: &str, options: Options) -> Result<(), ClientError> {
        self.connection = Connection::connect(controller, options)?;
        Ok(())
    }

    /// The connection, for other requests of this broker (AlterPartition, ...).
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn send_heartbeat(
        &mut self,
        want_fence: bool,
        want_shut_down: bool,
    ) -> Result<BrokerHeartbeatResponse, ClientError> {
        let request = BrokerHeartbeatRequest {
            broker_id: self.id,
            broker_epoch: self.epoch,
            // A broker's epoch is the offset of its registration: it has seen at least that.
            current_metadata_offset: self.epoch,
            want_fence,
            want_shut_down,
            ..Default::default()
        };
        let AnyResponse::BrokerHeartbeat(answer) =
            self.connection.send(&AnyRequest::BrokerHeartbeat(request))?
        else {
            return Err(self.connection.not_the_answer(ApiKey::BrokerHeartbeat));
        };
        refuse_unless_none(&format!("heartbeat of broker {}", self.id), answer.error_code)?;
        Ok(answer)
    }
}
