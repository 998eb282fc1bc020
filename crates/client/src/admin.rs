use crate::{ClientError, Connection, Options};
use quorate_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use quorate_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use quorate_protocol::messages::describe_quorum_request::{
    DescribeQuorumRequest, PartitionData, TopicData,
};
use quorate_protocol::messages::{
    CreateTopicsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumResponse,
    MetadataRequest, MetadataResponse, describe_quorum_response, metadata_request,
};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode, KStr};

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the cluster's default. Ignored with an assignment.
    pub partitions: Option<i32>,
    /// How many replicas each; `None` for the cluster's default. Ignored with an assignment.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition, if not to be chosen by the controller.
    pub assignment: Vec<Vec<i32>>,
    /// Configuration overrides.
    pub configs: Vec<(String, String)>,
}

/// What an administrator asks a broker or a controller.
#[derive(Debug)]
pub struct Admin {
    connection: Connection,
}

impl Admin {
    /// Connects to `host:port`.
    pub fn connect(address: &str) -> Result<Admin, ClientError> {
        Ok(Admin { connection: Connection::connect(address, Options::default())? })
    }

    /// Over a connection that exists.
    pub fn over(connection: Connection) -> Admin {
        Admin { connection }
    }

    /// The connection, for requests that have no helper here.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Creates topics and returns the raw answer.
    pub fn create_topics(
        &mut self,
        topics: &[NewTopic],
        timeout_ms: i32,
        validate_only: bool,
    ) -> Result<CreateTopicsResponse, ClientError> {
        let request = create_topics_request(topics, timeout_ms, validate_only);
        match self.connection.send(&AnyRequest::CreateTopics(request))? {
            AnyResponse::CreateTopics(answer) => Ok(answer),
            other => Err(self.connection.not_the_answer(other.api_key())),
        }
    }

    /// Creates one topic; an error code becomes [`ClientError::Refused`].
    pub fn create_topic(&mut self, topic: NewTopic) -> Result<(), ClientError> {
        let answer = self.create_topics(std::slice::from_ref(&topic), 30_000, false)?;
        for result in &answer.topics {
            if result.error_code != ErrorCode::None.code() {
                return Err(ClientError::Refused {
                    what: format!("create topic {}", result.name),
                    error_code: result.error_code,
                    message: result.error_message.as_ref().map(ToString::to_string),
                });
            }
        }
        Ok(())
    }

    /// Deletes a topic by name.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(KStr::from(name)), ..Default::default() }],
            topic_names: vec![],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let AnyResponse::DeleteTopics(answer) =
            self.connection.send(&AnyRequest::DeleteTopics(request))?
        else {
            return Err(self.connection.not_the_answer(quorate_protocol::ApiKey::DeleteTopics));
        };
        for result in &answer.responses {
            refuse_unless_none(&format!("delete topic {name}"), result.error_code)?;
        }
        Ok(())
    }

    /// Brokers and leaders as a broker sees them; `None` asks for all topics.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        let request = MetadataRequest {
            topics: topics.map(|names| {
                names
                    .iter()
                    .map(|name| metadata_request::MetadataRequestTopic {
                        name: Some(KStr::from(*name)),
                        ..Default::default()
                    })
                    .collect()
            }),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        match self.connection.send(&AnyRequest::Metadata(request))? {
            AnyResponse::Metadata(answer) => Ok(answer),
            other => Err(self.connection.not_the_answer(other.api_key())),
        }
    }

    /// The nodes of a cluster: brokers when asked of a broker, controllers when asked of one.
    pub fn describe_cluster(
        &mut self,
        endpoint_type: i8,
    ) -> Result<DescribeClusterResponse, ClientError> {
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let AnyResponse::DescribeCluster(answer) =
            self.connection.send(&AnyRequest::DescribeCluster(request))?
        else {
            return Err(self.connection.not_the_answer(quorate_protocol::ApiKey::DescribeCluster));
        };
        refuse_unless_none("describe cluster", answer.error_code)?;
        Ok(answer)
    }

    /// The quorum of the metadata log: leader, epoch, high watermark, voters, observers.
    pub fn describe_quorum(
        &mut self,
    ) -> Result<describe_quorum_response::PartitionData, ClientError> {
        let request = DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: KStr::from("__cluster_metadata"),
                partitions: vec![PartitionData { partition_index: 0, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let AnyResponse::DescribeQuorum(answer) =
            self.connection.send(&AnyRequest::DescribeQuorum(request))?
        else {
            return Err(self.connection.not_the_answer(quorate_protocol::ApiKey::DescribeQuorum));
        };
        first_partition(answer)
    }
}

fn first_partition(
    answer: DescribeQuorumResponse,
) -> Result<describe_quorum_response::PartitionData, ClientError> {
    refuse_unless_none("describe quorum", answer.error_code)?;
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or_else(|| {
        ClientError::Unexpected("DescribeQuorum was answered without a partition".to_owned())
    })?;
    refuse_unless_none("describe quorum", partition.error_code)?;
    Ok(partition)
}

/// The request that creates these topics.
pub(crate) fn create_topics_request(
    topics: &[NewTopic],
    timeout_ms: i32,
    validate_only: bool,
) -> CreateTopicsRequest {
    let topics = topics.iter().map(|topic| {
        let assigned = !topic.assignment.is_empty();
        CreatableTopic {
            name: KStr::from(topic.name.as_str()),
            num_partitions: if assigned { -1 } else { topic.partitions.unwrap_or(-1) },
            replication_factor: if assigned { -1 } else { topic.replication_factor.unwrap_or(-1) },
            assignments: (0..)
                .zip(&topic.assignment)
                .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                    partition_index,
                    broker_ids: brokers.clone(),
                    ..Default::default()
                })
                .collect(),
            configs: topic
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: KStr::from(name.as_str()),
                    value: Some(KStr::from(value.as_str())),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    });
    CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms,
        validate_only,
        ..Default::default()
    }
}

pub(crate) fn refuse_unless_none(what: &str, error_code: i16) -> Result<(), ClientError> {
    if error_code == ErrorCode::None.code() {
        return Ok(());
    }
    Err(ClientError::Refused { what: what.to_owned(), error_code, message: None })
}
