//! Requests from outside, by API.

use super::Histogram;
use quorate_protocol::{AnyResponse, ApiKey};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Room for every id that Kafka has given out, and some.
const API_IDS: usize = 160;
/// The last one also stands for all above; no API has come that far.
const VERSIONS: usize = 32;

/// Everything counted about requests. An API costs memory from its first request on.
#[derive(Debug)]
pub struct RequestStats {
    by_api: Vec<OnceLock<Box<ApiStats>>>,
    errors: Mutex<BTreeMap<(i16, i16), u64>>,
}

/// One API.
#[derive(Debug)]
pub struct ApiStats {
    /// Which.
    pub api: ApiKey,
    versions: [AtomicU64; VERSIONS],
    /// From the whole request received to the answer written.
    pub total: Histogram,
    /// In the core's queue.
    pub queue: Histogram,
    /// In the core thread.
    pub local: Histogram,
}

impl Default for RequestStats {
    fn default() -> RequestStats {
        let by_api = std::iter::repeat_with(OnceLock::new).take(API_IDS).collect();
        RequestStats { by_api, errors: Mutex::default() }
    }
}

impl RequestStats {
    /// The numbers of an API.
    pub fn api(&self, api: ApiKey) -> &ApiStats {
        let at = usize::try_from(api.id()).unwrap_or(0).min(API_IDS - 1);
        self.by_api[at].get_or_init(|| Box::new(ApiStats::new(api)))
    }

    /// The APIs that were ever asked for.
    pub fn all(&self) -> impl Iterator<Item = &ApiStats> {
        self.by_api.iter().filter_map(|it| it.get()).map(Box::as_ref)
    }

    /// Counts each error code that an answer holds once, as Kafka does.
    pub fn answered(&self, response: &AnyResponse) {
        let mut codes = response.error_codes();
        codes.sort_unstable();
        codes.dedup();
        if codes.is_empty() {
            codes.push(0);
        }
        let api = response.api_key().id();
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for code in codes {
            *errors.entry((api, code)).or_default() += 1;
        }
    }

    /// How often each error code was answered, by ids of API and error.
    pub fn errors(&self) -> BTreeMap<(i16, i16), u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ApiStats {
    fn new(api: ApiKey) -> ApiStats {
        ApiStats {
            api,
            versions: std::array::from_fn(|_| AtomicU64::new(0)),
            total: Histogram::default(),
            queue: Histogram::default(),
            local: Histogram::default(),
        }
    }

    /// Counts a request.
    pub fn received(&self, version: i16) {
        let at = usize::try_from(version).unwrap_or(0).min(VERSIONS - 1);
        self.versions[at].fetch_add(1, Relaxed);
    }

    /// Versions that were ever asked for, with how often.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(|it| it.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}
