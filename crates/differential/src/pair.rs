//! A controller of Kafka and one of ours, asked the same.

use crate::compare::{Answer, shown_record};
use crate::generate::{Scope, Step, Versions};
use crate::lag::{LAG, is_published};
use crate::log::Located;
use crate::reset::{Levels, is_kept};
use crate::rules::{Rules, without_words};
use crate::side::Side;
use quorate_base::Prng;
use quorate_interop::{Cluster, Controller, Failure, KafkaVersion, Outcome};
use quorate_protocol::{AnyRequest, AnyResponse, ApiKey, ErrorCode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

/// How long a log may take to show what the other side's log shows.
const LAG_MS: i32 = 2_000;
/// Of so many seeds one may do what no request undoes, which costs a restart of both.
const LASTING_ONE_IN: u64 = 12;

/// Where the two parted.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// What was compared.
    pub what: String,
    /// The request.
    pub request: String,
    /// Kafka's answer, records or image.
    pub java: String,
    /// Ours.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, request, java, ours } = self;
        let (java, ours) = (brief(java, ours), brief(ours, java));
        let request = request.replace(NO_TAGS, "");
        write!(f, "{what} differ\n  request: {request}\n  java:    {java}\n  quorate: {ours}")
    }
}

const NO_TAGS: &str = ", unknown_tags: UnknownTags(None)";

/// A text, without the middle where it is long and like the other one.
fn brief(text: &str, other: &str) -> String {
    let (text, other) = (text.replace(NO_TAGS, ""), other.replace(NO_TAGS, ""));
    let same = text.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    if text.len() < 1_000 {
        return text;
    }
    let head: String = text.chars().take(60).collect();
    let part: String = text.chars().skip(same.saturating_sub(300)).take(700).collect();
    format!("{head} ... {part}")
}

/// How often.
#[derive(Debug, Default)]
pub struct Asked {
    /// By API and version.
    pub by_version: BTreeMap<(ApiKey, i16), u64>,
    /// By API and error code within the answer.
    pub by_code: BTreeMap<(ApiKey, i16), u64>,
}

impl Asked {
    /// All together.
    pub fn total(&self) -> u64 {
        self.by_version.values().sum()
    }

    fn count(&mut self, step: &Step, answer: &Answer) {
        let api = step.request.api_key();
        *self.by_version.entry((api, step.version)).or_default() += 1;
        if step.user.is_some() {
            *self.by_version.entry((ApiKey::Envelope, 0)).or_default() += 1;
        }
        for code in answer.response().map(AnyResponse::error_codes).unwrap_or_default() {
            *self.by_code.entry((api, code)).or_default() += 1;
        }
    }
}

/// Both, running.
#[derive(Debug)]
pub struct Pair {
    java: Side,
    ours: Side,
    rules: Rules,
    release_version: String,
    /// What both serve.
    pub versions: Versions,
    levels: Levels,
    /// Pairs of texts that say the same in other words, with the API.
    pub words: BTreeMap<(String, String), (String, u32)>,
    /// How often requests were answered by both.
    pub asked: Asked,
    /// Print every request and its answers.
    pub trace: bool,
    /// True once Kafka has taken a damaged request that ours refused: nothing after it can be
    /// compared, up to the next reset.
    pub parted: bool,
    /// Brokers that were told to shut down.
    gone: BTreeSet<i32>,
}

impl Pair {
    /// Formats and starts both.
    pub fn start(kafka: KafkaVersion, release_version: Option<&str>) -> Outcome<Pair> {
        let release_version = release_version.unwrap_or(kafka.release_version()).to_owned();
        let side = |name, controller| {
            let mut builder = Cluster::builder(&format!("differential-{name}"))
                .controller(controller)
                .release_version(&release_version);
            for (key, value) in SETTINGS {
                builder = builder.controller_property(key, value);
            }
            Side::start(name, builder.format()?)
        };
        let java = side("java", Controller::Java(kafka))?;
        let ours = side("quorate", Controller::Quorate)?;
        let theirs = java.versions();
        let mut versions = ours.versions();
        versions.retain(|api, (oldest, newest)| {
            let Some((from, to)) = theirs.get(api) else { return false };
            (*oldest, *newest) = ((*oldest).max(*from), (*newest).min(*to));
            oldest <= newest
        });
        let levels = java.levels();
        let mut pair = Pair {
            java,
            ours,
            rules: Rules { kafka },
            release_version,
            versions,
            levels,
            words: Default::default(),
            asked: Asked::default(),
            trace: false,
            parted: false,
            gone: BTreeSet::new(),
        };
        if pair.ours.levels() != pair.levels {
            let (java, ours) = (&pair.levels, pair.ours.levels());
            return Err(Failure(format!("formatted at {java:?} and {ours:?}")));
        }
        pair.java.begin();
        pair.ours.begin();
        Ok(pair)
    }

    /// Two new ones, with what was counted so far.
    pub fn restart(&mut self) -> Outcome<()> {
        let mut fresh = Pair::start(self.rules.kafka, Some(&self.release_version))?;
        fresh.trace = self.trace;
        fresh.asked = std::mem::take(&mut self.asked);
        fresh.words = std::mem::take(&mut self.words);
        std::mem::replace(self, fresh).stop();
        Ok(())
    }

    /// Empties both. An error means that they have to be started anew.
    pub fn reset(&mut self) -> Outcome<()> {
        self.parted = false;
        self.gone.clear();
        self.java.reset(&self.levels, &self.versions)?;
        self.ours.reset(&self.levels, &self.versions)?;
        if let Some(difference) = self.compare_images("after the reset") {
            return Err(Failure(difference.to_string()));
        }
        let left = self.java.image();
        let counts = [
            left.topics.topic_count(),
            left.cluster.broker_count(),
            // One is the controller's own.
            left.cluster.controllers().count() - 1,
            left.acls.len(),
            left.configs.iter().filter(|(it, of)| !of.keys().all(|name| is_kept(it, name))).count(),
            left.client_quotas.iter().count(),
            left.scram.iter().count(),
            left.delegation_tokens.iter().count(),
        ];
        if counts != [0; 8] {
            let what = "topics, brokers, controllers, ACLs, configs, quotas, credentials, tokens";
            let config = left.configs.iter().next();
            return Err(Failure(format!("{counts:?} {what} are left after the reset; {config:?}")));
        }
        if self.java.levels() != self.levels {
            return Err(Failure(format!("levels after the reset: {:?}", self.java.levels())));
        }
        Ok(())
    }

    /// Brokers that serve, and some topics.
    pub fn prepare(&mut self, seed: u64) -> Outcome<Option<Difference>> {
        let mut prng = Prng::new(seed);
        let brokers = 2 + prng.below(4) as i32;
        let unfenced = prng.below(brokers as u64 + 1) as i32;
        for id in 1..=brokers {
            let made = self.both(&prng, |it| {
                let request = it.good_registration(id, 0);
                vec![Step::plain(AnyRequest::BrokerRegistration(request), it.versions)]
            });
            if let Some(difference) = self.steps(made)? {
                return Ok(Some(difference));
            }
            prng.next_u64();
        }
        // Without brokers most requests have one answer, and it would be the same.
        if self.java.image().cluster.broker_count() != brokers as usize {
            return Err(Failure::new("no broker can register: nothing would be compared"));
        }
        for id in 1..=unfenced.max(brokers - 1) {
            let made = self.both(&prng, |it| {
                let heartbeat = it.image.cluster.broker(id).map(|broker| it.good_heartbeat(broker));
                let heartbeat = heartbeat.map(AnyRequest::BrokerHeartbeat);
                heartbeat.into_iter().map(|beat| Step::plain(beat, it.versions)).collect()
            });
            if let Some(difference) = self.steps(made)? {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    /// Operation `index` of a seed, on both.
    pub fn operation(&mut self, seed: u64, index: u64) -> Outcome<Option<Difference>> {
        let prng = Prng::new(Prng::new(seed.wrapping_mul(1_000_003) ^ index).next_u64());
        let lasting = seed.is_multiple_of(LASTING_ONE_IN);
        let made = self.both(&prng, |it| {
            it.scope.lasting = lasting;
            it.operation()
        });
        self.steps(made)
    }

    fn both(
        &self,
        prng: &Prng,
        make: impl Fn(&mut crate::generate::Gen<'_>) -> Vec<Step>,
    ) -> (Vec<Step>, Vec<Step>) {
        let scope = Scope { kafka: self.rules.kafka, lasting: false };
        let java = make(&mut self.java.gen_with(prng.clone(), &self.versions, scope));
        let ours = make(&mut self.ours.gen_with(prng.clone(), &self.versions, scope));
        (java, ours)
    }

    fn steps(&mut self, (java, ours): (Vec<Step>, Vec<Step>)) -> Outcome<Option<Difference>> {
        for (java, ours) in java.into_iter().zip(ours) {
            if let Some(difference) = self.step(java, ours)? {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    fn step(&mut self, mut java: Step, mut ours: Step) -> Outcome<Option<Difference>> {
        let mut answers =
            (self.java.ask(&mut java, &self.versions)?, self.ours.ask(&mut ours, &self.versions)?);
        self.asked.count(&java, &answers.0);
        let request = self.java.names.translate(&shown_request(&java));
        if self.trace {
            println!("{}\n  java:    {:?}\n  quorate: {:?}", request, answers.0, answers.1);
        }
        let difference = |what: &str, java, ours| {
            Some(Difference { what: what.to_owned(), request: request.clone(), java, ours })
        };
        let stricter = match answers.1 {
            Answer::Closed => !matches!(answers.0, Answer::Closed),
            Answer::Refused(_) => !matches!(answers.0, Answer::Refused(_)),
            _ => false,
        };
        if java.damage.is_some() && stricter {
            // Stricter than Kafka (docs/differences.md, Input), which may even have done something.
            self.parted = true;
            return Ok(None);
        }
        if self.is_back_early(&java, &answers) {
            self.parted = true;
            return Ok(None);
        }
        let records = match self.new_records(java.places) {
            Ok(records) => records,
            // A controller that resigned answers no fetch of its old epoch.
            Err(failure) => {
                let (java, ours) = (format!("{:?}", answers.0), format!("{:?}", answers.1));
                return Ok(difference(&format!("fates ({failure})"), java, ours));
            }
        };
        let shown = |it: &Pair, answers: &(Answer, Answer)| {
            let java = answers.0.shown(&it.java.names, &it.rules);
            (java, answers.1.shown(&it.ours.names, &it.rules))
        };
        let mut shown_answers = shown(self, &answers);
        let start = Instant::now();
        while shown_answers.0 != shown_answers.1
            && is_published(java.request.api_key())
            && start.elapsed() < LAG
        {
            answers.0 = self.java.ask(&mut java, &self.versions)?;
            shown_answers = shown(self, &answers);
        }
        let shown = shown_answers;
        let (bare_java, words_java) = without_words(&shown.0);
        let (bare_ours, words_ours) = without_words(&shown.1);
        if bare_java != bare_ours {
            if matches!(answers.0, Answer::Nothing) || matches!(answers.1, Answer::Nothing) {
                return Ok(difference("answers (one has none)", shown.0, shown.1));
            }
            return Ok(difference("answers", shown.0, shown.1));
        }
        for (java_words, our_words) in words_java.into_iter().zip(words_ours) {
            if without_numbers(&java_words) != without_numbers(&our_words) {
                let api = java.request.api_key().name().to_owned();
                let key = (without_numbers(&java_words), without_numbers(&our_words));
                self.words.entry(key).or_insert((api, 0)).1 += 1;
            }
        }
        if records.0 != records.1 {
            return Ok(difference(
                "records",
                format!("{:#?}", records.0),
                format!("{:#?}", records.1),
            ));
        }
        Ok(None)
    }

    /// A broker that was told to go and comes back has to wait in Kafka only (docs/differences.md).
    fn is_back_early(&mut self, step: &Step, answers: &(Answer, Answer)) -> bool {
        match (&step.request, answers.0.response()) {
            (AnyRequest::BrokerHeartbeat(asked), Some(AnyResponse::BrokerHeartbeat(it))) => {
                if it.should_shut_down {
                    self.gone.insert(asked.broker_id);
                }
                false
            }
            (AnyRequest::BrokerRegistration(asked), Some(AnyResponse::BrokerRegistration(it))) => {
                let waits = ErrorCode::DuplicateBrokerRegistration.code();
                it.error_code == waits && self.gone.contains(&asked.broker_id)
            }
            _ => false,
        }
    }

    /// What both logs have got since, sorted: Kafka takes some from a hash map.
    fn new_records(&mut self, places: bool) -> Outcome<(Vec<String>, Vec<String>)> {
        let (mut java, mut ours) = (self.java.read_log(0)?, self.ours.read_log(0)?);
        if java.len() < ours.len() {
            java.extend(self.java.read_log(LAG_MS)?);
        } else if ours.len() < java.len() {
            ours.extend(self.ours.read_log(LAG_MS)?);
        }
        self.java.catch_up(&java, &self.versions)?;
        let mut java = shown_all(&java, &self.java, places);
        let mut ours = shown_all(&ours, &self.ours, places);
        java.sort();
        ours.sort();
        Ok((java, ours))
    }

    /// The images as the logs have made them.
    pub fn compare_images(&self, when: &str) -> Option<Difference> {
        let shown = |side: &Side| {
            let records = side.image().to_records().filter(|(record, _)| !is_own(record));
            let mut all: Vec<String> = records
                .map(|(it, version)| shown_record(&it, version, &side.names, false))
                .collect();
            all.sort();
            all
        };
        let (java, ours) = (shown(&self.java), shown(&self.ours));
        if java == ours {
            return None;
        }
        let only = |these: &[String], those: &[String]| {
            let only: Vec<&String> = these.iter().filter(|it| !those.contains(it)).collect();
            format!("{only:#?}")
        };
        Some(Difference {
            what: format!("images {when}"),
            request: String::new(),
            java: only(&java, &ours),
            ours: only(&ours, &java),
        })
    }

    /// Ends both; their files go.
    pub fn stop(self) {
        self.java.stop();
        self.ours.stop();
    }

    /// Ends both; tells where their files are.
    pub fn keep(self) -> String {
        format!("{} and {}", self.java.keep(), self.ours.keep())
    }
}

/// What a controller writes of itself.
fn is_own(record: &quorate_protocol::MetadataRecord) -> bool {
    use quorate_protocol::MetadataRecord as M;
    matches!(record, M::RegisterController(it) if it.controller_id == 3000)
        || matches!(record, M::ProducerIds(_))
}

fn shown_all(records: &[Located], side: &Side, places: bool) -> Vec<String> {
    let shown =
        |(_, record, version): &Located| shown_record(record, *version, &side.names, places);
    records.iter().map(shown).collect()
}

fn shown_request(step: &Step) -> String {
    let mut text = format!("v{} {:?}", step.version, step.request);
    if let Some(user) = &step.user {
        text = format!("as {user}: {text}");
    }
    if let Some(damage) = &step.damage {
        text = format!("{damage:?} of {text}");
    }
    text
}

/// Offsets and epochs in messages differ with the log.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// Nothing happens by the clock.
const SETTINGS: &[(&str, &str)] = &[
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
    ("broker.session.timeout.ms", "3600000"),
    ("auto.leader.rebalance.enable", "false"),
    ("metadata.max.idle.interval.ms", "0"),
    ("metadata.log.max.snapshot.interval.ms", "0"),
    ("unclean.leader.election.interval.ms", "3600000"),
    ("delegation.token.secret.key", "differential"),
    ("controller.quorum.append.linger.ms", "0"),
];
