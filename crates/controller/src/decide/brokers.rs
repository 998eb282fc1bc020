//! Brokers come, report and go: registration, heartbeats, unregistration (KIP-631, 841, 858, 966, 1066).

use crate::decide::broker_changes::{
    on_broker_fenced, on_broker_unfenced, on_broker_unregistered, on_clean_restart,
    on_controlled_shutdown, on_directories_offline, on_unclean_shutdown,
};
use crate::{Draft, Env, Heartbeats, RequestContext};
use quorate_base::{NodeId, Offset, Uuid};
use quorate_metadata::{Broker, Image};
use quorate_protocol::features::Feature;
use quorate_protocol::messages::broker_registration_request::Feature as BrokerSupports;
use quorate_protocol::messages::*;
use quorate_protocol::records::register_broker_record::{BrokerEndpoint, BrokerFeature};
use quorate_protocol::records::{BrokerRegistrationChangeRecord, RegisterBrokerRecord};
use quorate_protocol::{ErrorCode, KStr};
use std::collections::BTreeMap;

/// BrokerRegistration: a broker's process starts, or amends what it said of itself.
///
/// A new incarnation gets a new epoch, the offset of the first record of this decision, and is fenced
/// until it has caught up. The same incarnation keeps epoch and fencing.
pub fn register_broker(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    match try_register(env, draft, request) {
        Ok(broker_epoch) => BrokerRegistrationResponse { broker_epoch, ..Default::default() },
        Err(error) => BrokerRegistrationResponse { error_code: error.code(), ..Default::default() },
    }
}

fn try_register(
    env: &mut Env<'_>,
    draft: &mut Draft,
    request: &BrokerRegistrationRequest,
) -> Result<i64, ErrorCode> {
    if request.cluster_id != *env.config.cluster_id {
        return Err(ErrorCode::InconsistentClusterId);
    }
    let id = request.broker_id;
    let previous = draft.image().cluster.broker(id);
    if let Some(previous) = previous
        && previous.incarnation_id != request.incarnation_id
        && env.heartbeats.has_valid_session(env.now.time, id, previous.epoch)
    {
        return Err(ErrorCode::DuplicateBrokerRegistration);
    }
    if request.is_migrating_zk_broker {
        return Err(ErrorCode::BrokerIdNotRegistered);
    }
    let has_directories = draft.image().features.metadata_version().supports_directories();
    if has_directories {
        check_directories(draft.image(), id, &request.log_dirs)?;
    }
    check_features(draft.image(), env.raft.kraft_version, &request.features)?;

    let new_epoch = draft.next_offset();
    let kept = previous
        .filter(|it| it.incarnation_id == request.incarnation_id)
        .map(|it| (it.epoch, it.fenced, it.in_controlled_shutdown));
    let previous_epoch = previous.map(|it| it.epoch);
    if kept.is_none() {
        // An id unregistered before may be left in an ISR that had nobody else. Below request version 3 a broker cannot say how it stopped; -1 never equals an epoch. Without
        // ELR it makes no difference.
        match previous_epoch == Some(request.previous_broker_epoch) {
            true => on_clean_restart(env, draft, id),
            false => on_unclean_shutdown(env, draft, id),
        }
    }
    let (epoch, fenced, in_controlled_shutdown) = kept.unwrap_or((new_epoch, true, false));
    env.heartbeats.register(id, fenced, draft.next_offset());
    draft.push(RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: request.incarnation_id,
        broker_epoch: epoch,
        end_points: endpoints(&request.listeners),
        features: request.features.iter().map(feature).collect(),
        rack: request.rack.as_ref().map(KStr::detached),
        fenced,
        in_controlled_shutdown,
        log_dirs: if has_directories { request.log_dirs.clone() } else { Vec::new() },
        ..Default::default()
    });
    Ok(epoch)
}

/// Of listeners with one name the last one counts, in the place of the first.
fn endpoints(listeners: &[broker_registration_request::Listener]) -> Vec<BrokerEndpoint> {
    let mut found: Vec<BrokerEndpoint> = Vec::with_capacity(listeners.len());
    for given in listeners.iter().map(endpoint) {
        match found.iter_mut().find(|it| it.name == given.name) {
            Some(earlier) => *earlier = given,
            None => found.push(given),
        }
    }
    found
}

fn endpoint(listener: &broker_registration_request::Listener) -> BrokerEndpoint {
    BrokerEndpoint {
        name: listener.name.detached(),
        host: listener.host.detached(),
        port: listener.port,
        security_protocol: listener.security_protocol,
        ..Default::default()
    }
}

fn feature(feature: &BrokerSupports) -> BrokerFeature {
    BrokerFeature {
        name: feature.name.detached(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
        ..Default::default()
    }
}

/// Each directory id is real, named once, and nobody else's.
fn check_directories(image: &Image, id: NodeId, given: &[Uuid]) -> Result<(), ErrorCode> {
    let repeated = || given.iter().enumerate().any(|(i, it)| given[..i].contains(it));
    if given.is_empty() || given.iter().any(|it| it.is_reserved()) || repeated() {
        return Err(ErrorCode::InvalidRegistration);
    }
    let others = image.cluster.brokers().filter(|it| it.id != id);
    let mut taken = others.flat_map(|it| it.directories.iter());
    match taken.any(|it| given.contains(it)) {
        true => Err(ErrorCode::InvalidRegistration),
        false => Ok(()),
    }
}

/// The broker can live with every finalised level. A feature it does not list is one it has at 0 only.
fn check_features(
    image: &Image,
    kraft_version: i16,
    given: &[BrokerSupports],
) -> Result<(), ErrorCode> {
    let mut finalized: BTreeMap<&str, i16> =
        image.features.iter().map(|(name, level)| (name.as_str(), level)).collect();
    finalized.insert(Feature::KRaftVersion.name(), kraft_version);
    // Until it is recorded, metadata.version has a level all the same.
    let metadata_version = image.features.metadata_version().level();
    finalized.insert(Feature::MetadataVersion.name(), metadata_version);
    if !given.iter().any(|it| it.name == Feature::MetadataVersion.name()) {
        return Err(ErrorCode::InvalidRegistration);
    }
    for feature in given {
        let level = finalized.remove(feature.name.as_str()).unwrap_or(0);
        if !(feature.min_supported_version..=feature.max_supported_version).contains(&level) {
            return Err(ErrorCode::UnsupportedVersion);
        }
    }
    match finalized.values().any(|level| *level != 0) {
        true => Err(ErrorCode::UnsupportedVersion),
        false => Ok(()),
    }
}

/// BrokerHeartbeat: the broker lives, says how far it has read and what it wants to be.
pub fn heartbeat(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    let (id, epoch) = (request.broker_id, request.broker_epoch);
    let refuse = |error: ErrorCode| BrokerHeartbeatResponse {
        error_code: error.code(),
        ..Default::default()
    };
    if let Err(error) = check_broker_epoch(draft.image(), id, epoch) {
        return refuse(error);
    }
    env.heartbeats.contact(id, epoch, env.now.time);
    let registered_at = env.heartbeats.registered_at(id).unwrap_or(epoch);
    let current = Standing::of(env.heartbeats, id);
    let has_leaderships = || draft.image().topics.led_by(id).next().is_some();
    let next = current.next(env.heartbeats, request, registered_at, has_leaderships);
    if next != current {
        match next {
            Standing::Fenced => on_broker_fenced(env, draft, id),
            Standing::Unfenced => on_broker_unfenced(env, draft, id),
            Standing::ControlledShutdown => on_controlled_shutdown(env, draft, id),
            Standing::ShutdownNow => {
                // Already fenced by somebody else: nothing to write, it just may go.
                if !is_fenced(draft.image(), id) {
                    on_broker_fenced(env, draft, id);
                }
            }
        }
    }
    env.heartbeats.touch(id, next.is_fenced(), request.current_metadata_offset);
    if next == Standing::ControlledShutdown {
        // With nothing to write, what is in flight before counts: its leaderships went with that.
        env.heartbeats.begin_controlled_shutdown(id, draft.next_offset() - 1);
    }
    if next == Standing::ShutdownNow {
        // It said goodbye: its next process need not wait until this session has run out, as Kafka
        // lets it.
        env.heartbeats.end_session(id, epoch);
    }
    report_directories(env, draft, request);
    BrokerHeartbeatResponse {
        is_caught_up: request.current_metadata_offset >= registered_at,
        is_fenced: next.is_fenced(),
        should_shut_down: next == Standing::ShutdownNow,
        ..Default::default()
    }
}

/// Offline and cordoned directories, as far as the finalised metadata.version can record them.
fn report_directories(env: &mut Env<'_>, draft: &mut Draft, request: &BrokerHeartbeatRequest) {
    let (id, broker_epoch) = (request.broker_id, request.broker_epoch);
    let version = draft.image().features.metadata_version();
    if version.supports_directories() {
        report_offline(env, draft, request);
    }
    let Some(cordoned) = &request.cordoned_log_dirs else { return };
    if !version.supports_cordoned_dirs() {
        return;
    }
    let known = draft.image().cluster.broker(id).and_then(|it| it.cordoned_directories.as_ref());
    if known != Some(cordoned) {
        draft.push(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch,
            cordoned_log_dirs: Some(cordoned.clone()),
            ..Default::default()
        });
    }
}

/// Directories that were online and are not any more. The last one cannot go: its broker stops itself.
fn report_offline(env: &mut Env<'_>, draft: &mut Draft, request: &BrokerHeartbeatRequest) {
    let id = request.broker_id;
    let Some(broker) = draft.image().cluster.broker(id) else { return };
    let is_offline = |it: &Uuid| request.offline_log_dirs.contains(it);
    let (offline, log_dirs): (Vec<Uuid>, Vec<Uuid>) =
        broker.directories.iter().partition(|it| is_offline(it));
    if offline.is_empty() {
        return;
    }
    on_directories_offline(env, draft, id, &offline);
    if !log_dirs.is_empty() {
        draft.push(BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: request.broker_epoch,
            log_dirs,
            ..Default::default()
        });
    }
}

/// What a broker is to the controller, from heartbeat to heartbeat.
///
/// | now \ wants | nothing | fence | shut down | fence and shut down |
/// |---|---|---|---|---|
/// | fenced | unfenced once caught up | fenced | shutdown now | shutdown now |
/// | unfenced | unfenced | fenced | controlled shutdown if it leads, else shutdown now | shutdown now |
/// | controlled shutdown | \* | \* | \* | \* |
///
/// \* stays until it leads nothing and every active broker has read the records that made it so, then
/// shutdown now; there is no way back but to register again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutdownNow,
}

impl Standing {
    fn of(heartbeats: &Heartbeats, id: NodeId) -> Standing {
        if heartbeats.is_shutting_down(id) {
            Standing::ControlledShutdown
        } else if heartbeats.is_fenced(id) {
            Standing::Fenced
        } else {
            Standing::Unfenced
        }
    }

    fn next(
        self,
        heartbeats: &Heartbeats,
        request: &BrokerHeartbeatRequest,
        registered_at: Offset,
        has_leaderships: impl Fn() -> bool,
    ) -> Standing {
        match (self, request.want_fence, request.want_shut_down) {
            (Standing::Fenced, _, true) => Standing::ShutdownNow,
            (Standing::Fenced, true, false) => Standing::Fenced,
            (Standing::Fenced, false, false) => {
                match request.current_metadata_offset >= registered_at {
                    true => Standing::Unfenced,
                    false => Standing::Fenced,
                }
            }
            (Standing::Unfenced, true, true) => Standing::ShutdownNow,
            (Standing::Unfenced, true, false) => Standing::Fenced,
            (Standing::Unfenced, false, true) => match has_leaderships() {
                true => Standing::ControlledShutdown,
                false => Standing::ShutdownNow,
            },
            (Standing::Unfenced, false, false) => Standing::Unfenced,
            (Standing::ControlledShutdown | Standing::ShutdownNow, _, _) => {
                let handed_over = heartbeats.controlled_shutdown_offset(request.broker_id);
                let everybody_knows =
                    handed_over.is_none_or(|it| it <= heartbeats.lowest_active_offset());
                match everybody_knows && !has_leaderships() {
                    true => Standing::ShutdownNow,
                    false => Standing::ControlledShutdown,
                }
            }
        }
    }

    fn is_fenced(self) -> bool {
        matches!(self, Standing::Fenced | Standing::ShutdownNow)
    }
}

fn is_fenced(image: &Image, id: NodeId) -> bool {
    image.cluster.broker(id).is_none_or(|it| it.fenced)
}

/// UnregisterBroker: an operator removes a broker for good. One that still lives has its heartbeats
/// refused from then on.
pub fn unregister_broker(
    env: &mut Env<'_>,
    draft: &mut Draft,
    _context: &RequestContext,
    request: &UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = request.broker_id;
    if draft.image().cluster.broker(id).is_none() {
        return UnregisterBrokerResponse {
            error_code: ErrorCode::BrokerIdNotRegistered.code(),
            error_message: Some(KStr::from(format!("Broker ID {id} is not currently registered"))),
            ..Default::default()
        };
    }
    on_broker_unregistered(env, draft, id);
    env.heartbeats.remove(id);
    // Kafka answers success with an empty message, not with none.
    UnregisterBrokerResponse { error_message: Some(KStr::from("")), ..Default::default() }
}

/// The broker whose session ran out first, if any has, is fenced. True if one was taken, so that the
/// caller comes back for the next.
pub fn fence_one_stale_broker(env: &mut Env<'_>, draft: &mut Draft) -> bool {
    let Some((id, epoch)) = env.heartbeats.take_expired(env.now.time) else { return false };
    fence_silent(env, draft, id, epoch);
    true
}

/// A broker's process is known to be dead: its session ends now. A wrong guess costs one fencing and
/// unfencing, never data.
pub fn fence_dead_broker(env: &mut Env<'_>, draft: &mut Draft, id: NodeId) {
    if let Some(epoch) = draft.image().cluster.broker(id).map(|it| it.epoch) {
        env.heartbeats.end_session(id, epoch);
        fence_silent(env, draft, id, epoch);
    }
}

fn fence_silent(env: &mut Env<'_>, draft: &mut Draft, id: NodeId, epoch: i64) {
    // The contact may be that of an incarnation since replaced or unregistered, or of a broker that
    // never was unfenced.
    let stale = |it: &Broker| it.epoch == epoch && !it.fenced;
    if draft.image().cluster.broker(id).is_some_and(stale) {
        on_broker_fenced(env, draft, id);
        env.heartbeats.fence(id);
    }
}

/// The check that guards every request a broker makes for itself.
pub fn check_broker_epoch(image: &Image, id: NodeId, epoch: i64) -> Result<(), ErrorCode> {
    match image.cluster.broker(id) {
        Some(broker) if broker.epoch == epoch => Ok(()),
        _ => Err(ErrorCode::StaleBrokerEpoch),
    }
}
