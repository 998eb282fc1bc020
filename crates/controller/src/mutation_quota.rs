//! Limits on how many partitions a client may create and delete per second (KIP-599): a bucket of tokens for
//! each user and client id that a `controller_mutation_rate` speaks of.
//!
//! Soft state of the active controller: a new leader starts with full buckets, as Kafka's does.

use crate::RequestContext;
use crate::decide::refusal::Refusal;
use quorate_base::Time;
use quorate_metadata::{ClientQuotas, QuotaEntity, Str};
use quorate_protocol::ErrorCode;
use std::collections::BTreeMap;

const MUTATION_RATE: &str = "controller_mutation_rate";
/// `controller.quota.window.num` samples of `controller.quota.window.size.seconds`, by Kafka's defaults: as many
/// seconds of rate may be used at once.
const BURST_SECONDS: f64 = 11.0;
/// More buckets than this are looked through for such as are full, and hold nothing to remember.
const BUCKETS_MAX: usize = 10_000;

/// Whom a bucket is for: user and client id, each where the quota tells them apart.
type Owner = (Option<Str>, Option<Str>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Time,
    rate: f64,
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: Time) {
        let added = now.since(self.filled_at).as_secs_f64() * rate;
        self.rate = rate;
        self.tokens = (self.tokens + added).min(rate * BURST_SECONDS);
        self.filled_at = now;
    }
}

/// All buckets.
#[derive(Debug, Default)]
pub struct MutationQuotas {
    buckets: BTreeMap<Owner, Bucket>,
}

impl MutationQuotas {
    /// The limit on one request. `strict` requests are refused once the bucket is empty; others, in versions that
    /// know no such error, are only told how long to wait.
    pub fn limit<'a>(
        &'a mut self,
        quotas: &ClientQuotas,
        context: &RequestContext,
        strict: bool,
        now: Time,
    ) -> MutationLimit<'a> {
        let Some((owner, rate)) = rate_of(quotas, context) else {
            return MutationLimit::none();
        };
        if self.buckets.len() > BUCKETS_MAX {
            self.buckets.retain(|_, bucket| {
                bucket.fill(bucket.rate, now);
                bucket.tokens < bucket.rate * BURST_SECONDS
            });
        }
        let full = Bucket { tokens: rate * BURST_SECONDS, filled_at: now, rate };
        let bucket = self.buckets.entry(owner).or_insert(full);
        bucket.fill(rate, now);
        MutationLimit { bucket: Some(bucket), strict, throttle_ms: 0 }
    }

    /// Nothing is remembered.
    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
    }
}

/// What a request may still do.
#[derive(Debug)]
pub struct MutationLimit<'a> {
    bucket: Option<&'a mut Bucket>,
    strict: bool,
    throttle_ms: i32,
}

impl MutationLimit<'_> {
    /// No limit at all.
    pub fn none() -> MutationLimit<'static> {
        MutationLimit { bucket: None, strict: false, throttle_ms: 0 }
    }

    /// So many partitions are created or deleted. The last ones may overdraw the bucket, so that a large
    /// request is possible at all.
    ///
    /// Errors: THROTTLING_QUOTA_EXCEEDED, if strict, while the bucket is overdrawn.
    pub fn record(&mut self, partitions: usize) -> Result<(), Refusal> {
        let Some(bucket) = self.bucket.as_deref_mut() else { return Ok(()) };
        if self.strict && bucket.tokens < 0.0 {
            self.throttle_ms = wait_ms(bucket);
            return Err(Refusal::plain(ErrorCode::ThrottlingQuotaExceeded));
        }
        let burst = bucket.rate * BURST_SECONDS;
        bucket.tokens = (bucket.tokens - partitions as f64).min(burst);
        if !self.strict && bucket.tokens < 0.0 {
            self.throttle_ms = wait_ms(bucket);
        }
        Ok(())
    }

    /// What the answer says of waiting.
    pub fn throttle_time_ms(&self) -> i32 {
        self.throttle_ms
    }
}

/// Until there are tokens again.
fn wait_ms(bucket: &Bucket) -> i32 {
    (-bucket.tokens / bucket.rate * 1000.0).round() as i32
}

/// The most particular quota that is set for this client, and how far it tells clients apart.
fn rate_of(quotas: &ClientQuotas, context: &RequestContext) -> Option<(Owner, f64)> {
    let user = context.principal.name.clone();
    let client = context.client_id.clone().unwrap_or_default();
    let part = |kind: &str, name: Option<&Str>| (Str::from(kind), name.cloned());
    let (named_user, any_user) = (part("user", Some(&user)), part("user", None));
    let (named_client, any_client) = (part("client-id", Some(&client)), part("client-id", None));
    let both = (Some(user.clone()), Some(client.clone()));
    let (only_user, only_client) = ((Some(user), None), (None, Some(client)));
    // KIP-55's order.
    let candidates = [
        (vec![named_user.clone(), named_client.clone()], &both),
        (vec![named_user.clone(), any_client.clone()], &both),
        (vec![named_user], &only_user),
        (vec![any_user.clone(), named_client.clone()], &both),
        (vec![any_user.clone(), any_client.clone()], &both),
        (vec![any_user], &only_user),
        (vec![named_client], &only_client),
        (vec![any_client], &only_client),
    ];
    candidates.into_iter().find_map(|(parts, owner)| {
        let limits = quotas.get(&QuotaEntity::new(parts))?;
        Some((owner.clone(), *limits.get(MUTATION_RATE)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_metadata::Image;
    use quorate_protocol::MetadataRecord;
    use quorate_protocol::records::ClientQuotaRecord;
    use quorate_protocol::records::client_quota_record::EntityData;

    /// Whom it is for, and the rate.
    type Quota<'a> = (&'a [(&'a str, Option<&'a str>)], f64);

    fn quotas(all: &[Quota<'_>]) -> ClientQuotas {
        let mut image = Image::empty();
        for (entity, value) in all {
            let part = |(kind, name): &(&str, Option<&str>)| EntityData {
                entity_type: (*kind).into(),
                entity_name: name.map(Into::into),
                ..Default::default()
            };
            let record = ClientQuotaRecord {
                entity: entity.iter().map(part).collect(),
                key: MUTATION_RATE.into(),
                value: *value,
                ..Default::default()
            };
            image.apply(&MetadataRecord::ClientQuota(record)).unwrap();
        }
        image.client_quotas
    }

    fn alice() -> RequestContext {
        RequestContext {
            principal: crate::Principal::user("alice"),
            client_id: Some(Str::from("c1")),
            ..RequestContext::internal(0)
        }
    }

    #[test]
    fn the_most_particular_quota_counts() {
        let user: (&[_], f64) = (&[("user", Some("alice"))], 3.0);
        let both: (&[_], f64) = (&[("user", None), ("client-id", Some("c1"))], 2.0);
        let client: (&[_], f64) = (&[("client-id", None)], 1.0);
        let rate = |all: &[Quota<'_>]| rate_of(&quotas(all), &alice()).map(|(_, rate)| rate);
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[client]), Some(1.0));
        assert_eq!(rate(&[client, both]), Some(2.0));
        assert_eq!(rate(&[client, both, user]), Some(3.0));
        assert_eq!(rate(&[(&[("user", Some("bob"))], 9.0)]), None);
    }

    #[test]
    fn a_strict_request_is_refused_while_the_bucket_is_overdrawn() {
        let limits = quotas(&[(&[("user", Some("alice"))], 2.0)]);
        let mut all = MutationQuotas::default();
        let at = Time::from_millis;
        let mut first = all.limit(&limits, &alice(), true, at(5_000));
        // A burst of 22, and the last one may overdraw it.
        assert_eq!(first.record(20), Ok(()));
        assert_eq!(first.record(10), Ok(()));
        let refused = first.record(1).unwrap_err();
        assert_eq!(refused.error, ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(first.throttle_time_ms(), 4_000);
        let mut early = all.limit(&limits, &alice(), true, at(8_999));
        assert!(early.record(1).is_err());
        let mut later = all.limit(&limits, &alice(), true, at(9_000));
        assert_eq!(later.record(1), Ok(()));
        assert_eq!(later.throttle_time_ms(), 0);
    }

    #[test]
    fn a_permissive_request_is_done_and_told_to_wait() {
        let limits = quotas(&[(&[("user", Some("alice"))], 2.0)]);
        let mut all = MutationQuotas::default();
        let mut limit = all.limit(&limits, &alice(), false, Time::from_millis(0));
        assert_eq!(limit.record(30), Ok(()));
        assert_eq!(limit.record(2), Ok(()));
        assert_eq!(limit.throttle_time_ms(), 5_000);
    }

    #[test]
    fn others_and_other_clients_have_buckets_of_their_own() {
        let limits = quotas(&[(&[("user", None)], 1.0)]);
        let mut all = MutationQuotas::default();
        let now = Time::from_millis(0);
        assert_eq!(all.limit(&limits, &alice(), true, now).record(100), Ok(()));
        assert!(all.limit(&limits, &alice(), true, now).record(1).is_err());
        let bob = RequestContext { principal: crate::Principal::user("bob"), ..alice() };
        assert_eq!(all.limit(&limits, &bob, true, now).record(1), Ok(()));
        // The quota speaks of users only: another client of the same user shares the bucket.
        let other = RequestContext { client_id: None, ..alice() };
        assert!(all.limit(&limits, &other, true, now).record(1).is_err());
    }
}
