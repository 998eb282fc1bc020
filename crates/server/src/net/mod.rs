//! Sockets: frames in, frames out. Decides nothing about requests beyond "is this one at all".

pub mod accept;
mod authentication;
pub mod connection;
pub mod credentials;
pub mod envelope;
pub mod frame;
mod oauth;
pub mod peer;
pub mod quiet;
pub mod security;

use crate::audit::Audit;
use crate::config::NetworkConfig;
use crate::driver::clock::Clock;
use crate::driver::queue::CoreQueue;
use crate::driver::source::LogSource;
use crate::telemetry::Telemetry;
use quiet::QuietLog;
use quorate_metadata::Str;
use security::Security;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What every connection shares.
pub struct Edge {
    /// The way to the core thread.
    pub core: CoreQueue,
    /// Old log ranges and snapshots.
    pub source: Arc<dyn LogSource>,
    /// Monotonic time.
    pub clock: Clock,
    /// Limits.
    pub limits: NetworkConfig,
    /// Says why connections were closed, but not a million times.
    pub quiet: QuietLog,
    /// Where connections and requests are counted.
    pub telemetry: Arc<Telemetry>,
    /// Who may come in, and how.
    pub security: Arc<Security>,
    /// Where changes are written down.
    pub audit: Arc<Audit>,
    open: Mutex<Open>,
}

/// Connections open now.
#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Edge {
    /// An edge without connections.
    pub fn new(
        core: CoreQueue,
        source: Arc<dyn LogSource>,
        clock: Clock,
        limits: NetworkConfig,
    ) -> Edge {
        let (quiet, open) = (QuietLog::default(), Mutex::default());
        let telemetry = Telemetry::new(clock);
        let security = Arc::new(Security::none());
        let audit = Arc::default();
        Edge { core, source, clock, limits, quiet, telemetry, security, audit, open }
    }

    /// Counts there instead of for itself.
    pub fn counting_into(self, telemetry: Arc<Telemetry>) -> Edge {
        Edge { telemetry, ..self }
    }

    /// Guarded by that instead of by nothing.
    pub fn guarded_by(self, security: Arc<Security>) -> Edge {
        Edge { security, ..self }
    }

    /// Writes changes down there instead of nowhere.
    pub fn audited_by(self, audit: Arc<Audit>) -> Edge {
        Edge { audit, ..self }
    }

    /// Counts a new connection, or says which limit forbids it.
    fn admit(self: &Arc<Edge>, address: IpAddr, listener: &Str) -> Result<Admission, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.limits.max_connections {
            return Err("max.connections");
        }
        let from_there = open.by_address.entry(address).or_default();
        if *from_there >= self.limits.max_connections_per_ip {
            return Err("max.connections.per.ip");
        }
        *from_there += 1;
        open.total += 1;
        drop(open);
        self.telemetry.connections.opened(listener);
        Ok(Admission { edge: self.clone(), address, listener: listener.clone() })
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

/// A counted connection; dropping it counts it out, however its task ends.
struct Admission {
    edge: Arc<Edge>,
    address: IpAddr,
    listener: Str,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.edge.telemetry.connections.closed(&self.listener);
        let mut open = self.edge.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}
