//! AlterClientQuotas, row by row as Kafka 4.4.0 answered, unless said otherwise.

mod desk;

use desk::{Desk, name};
use quorate_controller::decide::quotas::alter_client_quotas;
use quorate_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use quorate_protocol::messages::*;
use quorate_protocol::records::{ClientQuotaRecord, client_quota_record};
use quorate_protocol::{KStr, MetadataRecord};

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];
/// Name and value; `None` removes.
type Op<'a> = (&'a str, Option<f64>);

const U: Entity<'static> = &[("user", Some("u"))];
const RATE: &str = "producer_byte_rate";

fn entry(entity: Entity<'_>, ops: &[Op<'_>]) -> EntryData {
    let part = |(kind, name): &(&str, Option<&str>)| EntityData {
        entity_type: KStr::from(*kind),
        entity_name: name.map(KStr::from),
        ..Default::default()
    };
    let op = |(key, value): &Op<'_>| OpData {
        key: KStr::from(*key),
        value: value.unwrap_or(0.0),
        remove: value.is_none(),
        ..Default::default()
    };
    EntryData {
        entity: entity.iter().map(part).collect(),
        ops: ops.iter().map(op).collect(),
        ..Default::default()
    }
}

type Outcome = (Vec<(String, Option<String>)>, &'static str, Option<String>);

fn alter(
    desk: &mut Desk,
    entries: Vec<EntryData>,
    validate_only: bool,
) -> (Vec<Outcome>, Vec<MetadataRecord>) {
    let request = AlterClientQuotasRequest { entries, validate_only, ..Default::default() };
    let (answer, records) = desk.decide(|env, draft, _| alter_client_quotas(env, draft, &request));
    let outcomes = answer.entries.into_iter().map(|it| {
        let entity = it.entity.into_iter();
        let entity = entity.map(|it| (it.entity_type.into(), it.entity_name.map(String::from)));
        (entity.collect(), name(it.error_code), it.error_message.map(String::from))
    });
    (outcomes.collect(), records)
}

fn record(entity: Entity<'_>, key: &str, value: Option<f64>) -> MetadataRecord {
    let part = |(kind, name): &(&str, Option<&str>)| client_quota_record::EntityData {
        entity_type: KStr::from(*kind),
        entity_name: name.map(KStr::from),
        ..Default::default()
    };
    ClientQuotaRecord {
        entity: entity.iter().map(part).collect(),
        key: KStr::from(key),
        value: value.unwrap_or(0.0),
        remove: value.is_none(),
        ..Default::default()
    }
    .into()
}

#[test]
fn quotas_are_written_when_they_change() {
    let mut desk = Desk::at(30);
    let asked = || vec![entry(U, &[(RATE, Some(100.0)), ("request_percentage", Some(10.5))])];
    let (outcomes, records) = alter(&mut desk, asked(), false);
    assert_eq!((outcomes[0].1, outcomes[0].2.clone()), ("NONE", None));
    assert_eq!(
        records,
        [record(U, RATE, Some(100.0)), record(U, "request_percentage", Some(10.5))]
    );
    assert_eq!(alter(&mut desk, asked(), false).1, [], "it is so already");
    let remove = || vec![entry(U, &[(RATE, None)])];
    assert_eq!(alter(&mut desk, remove(), false).1, [record(U, RATE, None)]);
    let (outcomes, records) = alter(&mut desk, remove(), false);
    assert_eq!((outcomes[0].1, records), ("NONE", vec![]), "it is gone already");
}

#[test]
fn each_error_of_an_entry() {
    let ip: Entity<'_> = &[("ip", Some("1.1.1.1"))];
    #[rustfmt::skip]
    let rows: &[(Entity<'_>, &[Op<'_>], &str)] = &[
        (&[], &[(RATE, Some(1.0))], "Invalid empty client quota entity"),
        (&[("user", Some(""))], &[(RATE, Some(1.0))], "Empty user not supported"),
        (&[("foo", Some("u"))], &[(RATE, Some(1.0))], "Unhandled client quota entity type: foo"),
        (&[("user", Some("u")), ("ip", Some("1.1.1.1"))], &[(RATE, Some(1.0))], "Invalid quota entity combination"),
        (&[("ip", Some("1.1.1.1111"))], &[("connection_creation_rate", Some(1.0))], "1.1.1.1111 is not a valid IP or resolvable host."),
        (&[("ip", Some("no such host"))], &[("connection_creation_rate", Some(1.0))], "is not a valid IP or resolvable host."),
        (ip, &[(RATE, Some(1.0))], "Invalid configuration key producer_byte_rate"),
        (U, &[("connection_creation_rate", Some(1.0))], "Invalid configuration key connection_creation_rate"),
        (U, &[("bogus", Some(1.0))], "Invalid configuration key bogus"),
        (U, &[(RATE, Some(0.0))], "Quota producer_byte_rate must be greater than 0"),
        (U, &[(RATE, Some(-1.0))], "Quota producer_byte_rate must be greater than 0"),
        (U, &[(RATE, Some(f64::NAN))], "Quota producer_byte_rate must be a finite number"),
        (U, &[("request_percentage", Some(f64::INFINITY))], "Quota request_percentage must be a finite number"),
        (U, &[(RATE, Some(1.5))], "producer_byte_rate cannot be a fractional value."),
        (U, &[(RATE, Some(1e19))], "Proposed value for producer_byte_rate is too large for a LONG."),
        (ip, &[("connection_creation_rate", Some(1e10))], "too large for an INT."),
        (U, &[(RATE, Some(1.0)), ("bogus", Some(1.0))], "Invalid configuration key bogus"),
        (U, &[(RATE, Some(1.0)), (RATE, Some(2.0))], "duplicate"),
    ];
    for (entity, ops, text) in rows {
        let (outcomes, records) = alter(&mut Desk::at(30), vec![entry(entity, ops)], false);
        let (_, error, message) = &outcomes[0];
        assert_eq!((*error, records.len()), ("INVALID_REQUEST", 0), "{text}");
        let message = message.as_deref().unwrap_or_default();
        assert!(message.contains(text), "{message}");
    }
}

#[test]
fn entities_that_kafka_takes() {
    #[rustfmt::skip]
    let rows: &[(Entity<'_>, &str, f64)] = &[
        (&[("user", None)], RATE, 1.0),
        (&[("user", Some("u")), ("client-id", Some("c"))], RATE, 1.0),
        (&[("client-id", None)], "controller_mutation_rate", 0.5),
        (&[("ip", None)], "connection_creation_rate", 1.0),
        (&[("ip", Some("1.1.1.1"))], "connection_creation_rate", 1.0),
        (&[("ip", Some("::1"))], "connection_creation_rate", 1.0),
        (&[("ip", Some("localhost"))], "connection_creation_rate", 1.0),
        (&[("ip", Some("999"))], "connection_creation_rate", 1.0),
        (&[("ip", Some("127.1"))], "connection_creation_rate", 1.0),
        (U, RATE, 1.000_000_1),
    ];
    for (entity, key, value) in rows {
        let asked = vec![entry(entity, &[(key, Some(*value))])];
        let (outcomes, records) = alter(&mut Desk::at(30), asked, false);
        assert_eq!((outcomes[0].1, records.len()), ("NONE", 1), "{entity:?} {:?}", outcomes[0].2);
    }
}

#[test]
fn an_entity_named_twice_is_refused_and_answered_once() {
    let asked = vec![
        entry(U, &[(RATE, Some(1.0))]),
        entry(&[("user", Some("v"))], &[(RATE, Some(1.0))]),
        entry(U, &[("consumer_byte_rate", Some(2.0))]),
    ];
    let (outcomes, records) = alter(&mut Desk::at(30), asked, false);
    let errors: Vec<_> = outcomes.iter().map(|it| it.1).collect();
    assert_eq!(errors, ["INVALID_REQUEST", "NONE"]);
    assert_eq!(records, [record(&[("user", Some("v"))], RATE, Some(1.0))]);
}

#[test]
fn the_last_of_two_names_of_one_type_counts() {
    let asked = vec![entry(&[("user", Some("u")), ("user", Some("v"))], &[(RATE, Some(1.0))])];
    let (outcomes, records) = alter(&mut Desk::at(30), asked, false);
    assert_eq!(outcomes[0].0, [("user".to_owned(), Some("v".to_owned()))]);
    assert_eq!(records, [record(&[("user", Some("v"))], RATE, Some(1.0))]);
}

#[test]
fn what_has_an_unknown_name_can_be_removed() {
    let mut desk = Desk::at(30);
    let remove = || vec![entry(U, &[("bogus", None)])];
    let (outcomes, records) = alter(&mut desk, remove(), false);
    assert_eq!((outcomes[0].1, records), ("NONE", vec![]));
    desk.apply(record(U, "bogus", Some(1.0)));
    assert_eq!(alter(&mut desk, remove(), false).1, [record(U, "bogus", None)]);
}

#[test]
fn validating_only_writes_nothing() {
    let mut desk = Desk::at(30);
    let asked = vec![entry(U, &[(RATE, Some(1.0))])];
    let (outcomes, records) = alter(&mut desk, asked, true);
    assert_eq!((outcomes[0].1, records), ("NONE", vec![]));
    assert_eq!(desk.image.client_quotas.iter().count(), 0);
}

#[test]
fn more_than_ten_thousand_records_are_refused_as_a_whole() {
    let names: Vec<String> = (0..10_001).map(|it| it.to_string()).collect();
    let entries: Vec<EntryData> =
        names.iter().map(|it| entry(&[("user", Some(it))], &[(RATE, Some(1.0))])).collect();
    let (outcomes, records) = alter(&mut Desk::at(30), entries, false);
    assert!(outcomes.len() == 10_001 && outcomes.iter().all(|it| it.1 == "POLICY_VIOLATION"));
    assert!(records.is_empty());
}
