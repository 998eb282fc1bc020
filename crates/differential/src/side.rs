//! One controller of a pair, with the metadata that its log makes.

use crate::compare::{Answer, Names};
use crate::generate::{Gen, Scope, Step, Versions};
use crate::log::{Located, LogReader};
use bytes::Bytes;
use quorate_base::Prng;
use quorate_client::{Admin, ClientError, Connection, Options};
use quorate_interop::{Cluster, Failure, Outcome, wait_for};
use quorate_metadata::{Image, Replayer};
use quorate_protocol::{AnyRequest, AnyResponse, MetadataRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// A running controller, everything read from its log, and what its ids stand for.
#[derive(Debug)]
pub struct Side {
    /// `java` or `quorate`.
    pub name: &'static str,
    /// What ids of this side stand for.
    pub names: Names,
    /// HMACs of tokens made since the last reset, oldest first.
    pub tokens: Vec<Bytes>,
    /// The same by the tokens' ids.
    pub hmacs: BTreeMap<String, Bytes>,
    cluster: Cluster,
    cluster_id: String,
    connection: Connection,
    reader: Connection,
    log: LogReader,
    state: Replayer,
}

impl Side {
    /// Starts the controller of a formatted cluster.
    pub fn start(name: &'static str, mut cluster: Cluster) -> Outcome<Side> {
        cluster.controller.start()?;
        cluster.await_controller()?;
        let address = cluster.controller.address();
        let leader_epoch = Admin::connect(&address)?.describe_quorum()?.leader_epoch;
        let mut side = Side {
            name,
            names: Names::new(cluster.controller.port),
            tokens: Vec::new(),
            hmacs: BTreeMap::new(),
            cluster_id: cluster.cluster_id.to_string(),
            connection: connect(&address)?,
            reader: connect(&address)?,
            log: LogReader::new(leader_epoch),
            state: Replayer::new(Image::empty()),
            cluster,
        };
        // It registers itself once it leads, which is the last that it does of itself.
        let what = format!("{name} has registered itself");
        wait_for(&what, Duration::from_secs(60), || {
            side.read_log(100)?;
            let registered = side.image().cluster.controllers().next();
            registered.map(drop).ok_or_else(|| Failure::new("no registration in the log"))
        })?;
        Ok(side)
    }

    /// Everything committed.
    pub fn image(&self) -> &Image {
        self.state.latest()
    }

    /// One past the last record read.
    pub fn end_offset(&self) -> i64 {
        self.log.end
    }

    /// The APIs that it serves, as far as this program speaks them.
    pub fn versions(&self) -> Versions {
        let apis = self.connection.api_versions().api_keys.iter();
        apis.filter_map(|it| {
            let api = quorate_protocol::ApiKey::from_i16(it.api_key)?;
            let ours = api.versions();
            let (oldest, newest) =
                (it.min_version.max(*ours.start()), it.max_version.min(*ours.end()));
            (oldest <= newest).then_some((api, (oldest, newest)))
        })
        .collect()
    }

    /// Requests made from this side's metadata.
    pub fn gen_with<'a>(&'a self, prng: Prng, versions: &'a Versions, scope: Scope) -> Gen<'a> {
        Gen {
            prng,
            scope,
            image: self.image(),
            cluster_id: &self.cluster_id,
            end_offset: self.end_offset(),
            tokens: &self.tokens,
            versions,
        }
    }

    /// Sends a request and takes what comes.
    pub fn ask(&mut self, step: &mut Step, versions: &Versions) -> Outcome<Answer> {
        let frame = step.frame(versions).map_err(|e| Failure(format!("{step:?}: {e}")))?;
        let (api, _) = step.outer_api();
        let answer = match self.connection.exchange(api, &frame) {
            Ok(bytes) => Answer::decode(step, bytes),
            Err(ClientError::Closed { .. } | ClientError::Io { .. }) => Answer::Closed,
            Err(ClientError::Timeout { .. }) => Answer::Nothing,
            Err(other) => return Err(other.into()),
        };
        if matches!(answer, Answer::Closed | Answer::Nothing) {
            self.connection = connect(&self.cluster.controller.address())?;
        }
        if let Some(AnyResponse::CreateDelegationToken(made)) = answer.response()
            && made.error_code == 0
        {
            self.tokens.push(made.hmac.clone());
            self.hmacs.insert(made.token_id.to_string(), made.hmac.clone());
        }
        Ok(answer)
    }

    /// A request that must succeed, for housekeeping.
    pub fn send(&mut self, request: &AnyRequest) -> Outcome<AnyResponse> {
        Ok(self.connection.send(request)?)
    }

    /// Reads what was committed since, and applies it. What Kafka writes of a broker that stays as it
    /// was is left out (docs/differences.md).
    pub fn read_log(&mut self, wait_ms: i32) -> Outcome<Vec<Located>> {
        let mut read = Vec::new();
        for located in self.log.read(&mut self.reader, wait_ms)? {
            let (offset, record, _) = &located;
            let fault = |e| Failure(format!("{}: record at {offset}: {e}", self.name));
            self.names.learn(record);
            let before = self.state.latest().clone();
            self.state.apply(record).map_err(fault)?;
            if !is_idle(record, &before, self.state.latest()) {
                read.push(located);
            }
        }
        Ok(read)
    }

    /// Forgets ids, and counts epochs from here on.
    pub fn begin(&mut self) {
        self.names.begin(self.log.end);
        self.tokens.clear();
        self.hmacs.clear();
    }

    /// Ends it; its files go.
    pub fn stop(self) {
        self.cluster.discard();
    }

    /// Ends it; its files stay.
    pub fn keep(self) -> String {
        self.cluster.path().display().to_string()
    }
}

fn is_idle(record: &MetadataRecord, before: &Image, after: &Image) -> bool {
    let MetadataRecord::BrokerRegistrationChange(it) = record else { return false };
    before.cluster.broker(it.broker_id) == after.cluster.broker(it.broker_id)
}

fn connect(address: &str) -> Outcome<Connection> {
    let options = Options {
        client_id: "differential".to_owned(),
        connect_timeout: Duration::from_secs(5),
        // Longer than a loaded machine needs: no answer is a difference.
        request_timeout: Duration::from_secs(20),
    };
    Ok(Connection::connect(address, options)?)
}
