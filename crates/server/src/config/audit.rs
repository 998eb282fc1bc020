//! `quorate.audit.*`.

use super::values::Values;
use std::path::PathBuf;
use std::time::Duration;

/// What is written down of changes, and where.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// `quorate.audit.enable`.
    pub enabled: bool,
    /// `quorate.audit.dir`; `None`: the directory of the metadata log.
    pub dir: Option<PathBuf>,
    /// `quorate.audit.file.bytes`.
    pub file_bytes: u64,
    /// `quorate.audit.file.ms`.
    pub file_age: Duration,
    /// `quorate.audit.total.bytes`.
    pub total_bytes: u64,
    /// `quorate.audit.min.free.bytes`.
    pub min_free_bytes: u64,
    /// `quorate.audit.routine`.
    pub routine: bool,
}

pub(super) fn read_audit(v: &mut Values<'_>) -> AuditConfig {
    AuditConfig {
        enabled: v.boolean("quorate.audit.enable"),
        dir: v.present("quorate.audit.dir").map(|property| PathBuf::from(&property.value)),
        file_bytes: v.number("quorate.audit.file.bytes"),
        file_age: v.millis("quorate.audit.file.ms"),
        total_bytes: v.number("quorate.audit.total.bytes"),
        min_free_bytes: v.number("quorate.audit.min.free.bytes"),
        routine: v.boolean("quorate.audit.routine"),
    }
}
