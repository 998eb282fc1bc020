//! Registrations, heartbeats, and what else brokers and controllers say of themselves.

use super::Gen;
use quorate_base::Uuid;
use quorate_interop::KafkaVersion;
use quorate_metadata::Broker;
use quorate_protocol::messages::broker_registration_request::{Feature, Listener};
use quorate_protocol::messages::{
    AllocateProducerIdsRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    ControllerRegistrationRequest, UnregisterBrokerRequest, UnregisterControllerRequest,
    controller_registration_request,
};
use quorate_protocol::{AnyRequest, ApiKey, KStr};

impl Gen<'_> {
    /// A registration that any controller accepts, unless the broker's session is alive.
    pub fn good_registration(
        &mut self,
        broker_id: i32,
        incarnation: u64,
    ) -> BrokerRegistrationRequest {
        let features = self.image.features.iter().map(|(name, level)| Feature {
            name: KStr::from(name.as_str()),
            min_supported_version: i16::from(name.as_str() == "metadata.version"),
            max_supported_version: level.max(1),
            ..Default::default()
        });
        // Its level is not in the image, and every broker has to know it.
        let of_raft = Feature {
            name: KStr::from("kraft.version"),
            max_supported_version: 1,
            ..Default::default()
        };
        let features = features.chain([of_raft]).collect();
        let directories = 1 + self.prng.below(3);
        BrokerRegistrationRequest {
            broker_id,
            cluster_id: KStr::from(self.cluster_id),
            incarnation_id: Uuid::from_u128(
                0x1_0000_0000
                    + (u128::from(broker_id.unsigned_abs()) << 8)
                    + u128::from(incarnation),
            ),
            listeners: vec![Listener {
                name: KStr::from("PLAINTEXT"),
                host: KStr::from("127.0.0.1"),
                port: 9092,
                ..Default::default()
            }],
            features,
            rack: [None, Some("a"), Some("b")][broker_id.rem_euclid(3) as usize].map(KStr::from),
            log_dirs: (0..directories).map(|it| Self::directory(broker_id, it)).collect(),
            ..Default::default()
        }
    }

    pub(super) fn broker_registration(&mut self) -> AnyRequest {
        let broker_id = self.broker_id();
        let incarnation = self.prng.below(3);
        let mut request = self.good_registration(broker_id, incarnation);
        match self.prng.below(24) {
            0 => request.cluster_id = KStr::from("another"),
            1 => request.incarnation_id = Uuid::ZERO,
            2 => request.listeners.clear(),
            // 3.9 took it for a broker from before there were features.
            3 if self.scope.kafka > KafkaVersion::V3_9_1 => request.features.clear(),
            4 => request.is_migrating_zk_broker = true,
            5 => request.log_dirs.clear(),
            6 => request.log_dirs.push(Uuid::DIR_UNASSIGNED),
            7 => request.log_dirs = vec![Self::directory(broker_id, 0); 2],
            8 => request.log_dirs = vec![Self::directory(broker_id + 1, 0)],
            9 => request.listeners.push(request.listeners[0].clone()),
            10 => request.features.push(Feature {
                name: KStr::from("made.up"),
                min_supported_version: 1,
                max_supported_version: 3,
                ..Default::default()
            }),
            11 => {
                for feature in &mut request.features {
                    feature.max_supported_version -= 1;
                    feature.min_supported_version = 0;
                }
            }
            12 => {
                for feature in &mut request.features {
                    feature.min_supported_version = feature.max_supported_version + 1;
                    feature.max_supported_version += 2;
                }
            }
            13 => {
                let broker = self.image.cluster.broker(broker_id);
                request.previous_broker_epoch = broker.map_or(5, |it| it.epoch);
            }
            14 => request.listeners[0].security_protocol = 3,
            // No host, a port of zero, or a security protocol that does not exist makes Kafka's
            // controller resign (docs/differences.md).
            _ => {}
        }
        AnyRequest::BrokerRegistration(request)
    }

    /// A heartbeat of a broker that serves.
    pub fn good_heartbeat(&self, broker: &Broker) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            current_metadata_offset: self.end_offset,
            ..Default::default()
        }
    }

    pub(super) fn broker_heartbeat(&mut self) -> AnyRequest {
        let (broker_id, broker_epoch) = self.broker_and_epoch();
        let behind = if self.one_in(8) { i64::from(self.below(30)) } else { 0 };
        let mut request = BrokerHeartbeatRequest {
            broker_id,
            broker_epoch,
            current_metadata_offset: self.end_offset - behind,
            want_fence: self.one_in(6),
            want_shut_down: self.one_in(10),
            ..Default::default()
        };
        if self.one_in(8) {
            // One that a deleted topic was in makes Kafka's controller resign (docs/differences.md), in
            // later seeds too: only directories that no broker has.
            request.offline_log_dirs = self.several(1, 2, |it| it.no_directory());
        }
        if self.one_in(6) && self.newest(ApiKey::BrokerHeartbeat) > 1 {
            request.cordoned_log_dirs = Some(self.several(0, 2, |it| it.some_directory(broker_id)));
        }
        AnyRequest::BrokerHeartbeat(request)
    }

    pub(super) fn unregister_broker(&mut self) -> AnyRequest {
        let broker_id = self.broker_id();
        AnyRequest::UnregisterBroker(UnregisterBrokerRequest { broker_id, ..Default::default() })
    }

    pub(super) fn allocate_producer_ids(&mut self) -> AnyRequest {
        let (broker_id, broker_epoch) = self.broker_and_epoch();
        AnyRequest::AllocateProducerIds(AllocateProducerIdsRequest {
            broker_id,
            broker_epoch,
            ..Default::default()
        })
    }

    pub(super) fn controller_registration(&mut self) -> AnyRequest {
        use controller_registration_request::{Feature, Listener};
        if !self.versions.contains_key(&ApiKey::UnregisterController) && !self.scope.lasting {
            return self.allocate_producer_ids();
        }
        let features = self.image.features.iter().map(|(name, level)| Feature {
            name: KStr::from(name.as_str()),
            min_supported_version: i16::from(name.as_str() == "metadata.version"),
            max_supported_version: level.max(1),
            ..Default::default()
        });
        let mut features: Vec<Feature> = features.collect();
        if self.one_in(6) {
            features.pop();
        }
        let controller_id = 3001 + self.below(2);
        let listener = Listener {
            name: KStr::from("CONTROLLER"),
            host: KStr::from("127.0.0.1"),
            port: 9093,
            ..Default::default()
        };
        AnyRequest::ControllerRegistration(ControllerRegistrationRequest {
            controller_id,
            incarnation_id: Uuid::from_u128(0x2_0000_0000 + u128::from(self.prng.below(2))),
            // Nothing is, where Quorate runs; 3.9 keeps what is said.
            zk_migration_ready: self.one_in(5) && self.scope.kafka > KafkaVersion::V3_9_1,
            listeners: if self.one_in(8) { vec![] } else { vec![listener] },
            features,
            ..Default::default()
        })
    }

    pub(super) fn unregister_controller(&mut self) -> AnyRequest {
        let controller_id = self.pick(&[3001, 3001, 3002, 3002, 17]);
        AnyRequest::UnregisterController(UnregisterControllerRequest {
            controller_id,
            ..Default::default()
        })
    }
}
