//! A controller of Kafka and one of ours, asked the same.

use crate::compare::{Answer, shown_record};
use crate::generate::{Step, Versions};
use crate::log::Located;
use crate::reset::Levels;
use crate::rules::{Rules, without_words};
use crate::side::Side;
use quorate_base::Prng;
use quorate_interop::{Cluster, Controller, Failure, KafkaVersion, Outcome};
use quorate_protocol::{AnyRequest, AnyResponse, ErrorCode};
use std::fmt;
use std::time::{Duration, Instant};

/// How long a log may take to show what the other side's log shows.
const LAG_MS: i32 = 2_000;
/// How long Kafka's cache of tokens may lag behind its log.
const TOKEN_LAG: Duration = Duration::from_secs(5);
const TOKEN_NOT_FOUND: i16 = ErrorCode::DelegationTokenNotFound.code();

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

/// Both, running.
#[derive(Debug)]
pub struct Pair {
    java: Side,
    ours: Side,
    rules: Rules,
    versions: Versions,
    levels: Levels,
    /// Pairs of texts that say the same in other words, with the API.
    pub words: std::collections::BTreeMap<(String, String), (String, u32)>,
    /// How many requests were answered by both.
    pub asked: u64,
    /// True once Kafka has taken a damaged request that ours refused: nothing after it can be
    /// compared, up to the next reset.
    pub parted: bool,
}

impl Pair {
    /// Formats and starts both.
    pub fn start(kafka: KafkaVersion) -> Outcome<Pair> {
        let side = |name, controller| {
            let mut builder = Cluster::builder(&format!("differential-{name}"))
                .controller(controller)
                .release_version(kafka.release_version());
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
            versions,
            levels,
            words: Default::default(),
            asked: 0,
            parted: false,
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
        let mut fresh = Pair::start(self.rules.kafka)?;
        fresh.asked = self.asked;
        fresh.words = std::mem::take(&mut self.words);
        std::mem::replace(self, fresh).stop();
        Ok(())
    }

    /// Empties both. An error means that they have to be started anew.
    pub fn reset(&mut self) -> Outcome<()> {
        self.parted = false;
        self.java.reset(&self.levels, &self.versions)?;
        self.ours.reset(&self.levels, &self.versions)?;
        if let Some(difference) = self.compare_images("after the reset") {
            return Err(Failure(difference.to_string()));
        }
        let left = self.java.image();
        let counts = [
            left.topics.topic_count(),
            left.cluster.broker_count(),
            left.acls.len(),
            left.delegation_tokens.iter().count(),
        ];
        if counts != [0; 4] {
            let what = "topics, brokers, ACLs, tokens";
            let acl = left.acls.iter().next();
            return Err(Failure(format!("{counts:?} {what} are left after the reset; {acl:?}")));
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
        let made = self.both(&prng, |it| it.operation());
        self.steps(made)
    }

    fn both(
        &self,
        prng: &Prng,
        make: impl Fn(&mut crate::generate::Gen<'_>) -> Vec<Step>,
    ) -> (Vec<Step>, Vec<Step>) {
        let java = make(&mut self.java.gen_with(prng.clone(), &self.versions));
        let ours = make(&mut self.ours.gen_with(prng.clone(), &self.versions));
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
        let answers =
            (self.java.ask(&mut java, &self.versions)?, self.ours.ask(&mut ours, &self.versions)?);
        self.asked += 1;
        let answers = self.when_known(&mut java, answers)?;
        let request = self.java.names.translate(&shown_request(&java));
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
        let records = match self.new_records(java.places) {
            Ok(records) => records,
            // A controller that resigned answers no fetch of its old epoch.
            Err(failure) => {
                let (java, ours) = (format!("{:?}", answers.0), format!("{:?}", answers.1));
                return Ok(difference(&format!("fates ({failure})"), java, ours));
            }
        };
        let shown = (
            answers.0.shown(&self.java.names, &self.rules),
            answers.1.shown(&self.ours.names, &self.rules),
        );
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

    /// Kafka looks tokens up in a cache that follows its log: it may not know yet a token that it made, or
    /// still know one that it ended. It is asked until it does.
    fn when_known(
        &mut self,
        java: &mut Step,
        mut answers: (Answer, Answer),
    ) -> Outcome<(Answer, Answer)> {
        let start = Instant::now();
        let code = |answer: &Answer| match answer.response() {
            Some(AnyResponse::RenewDelegationToken(it)) => Some(it.error_code),
            Some(AnyResponse::ExpireDelegationToken(it)) => Some(it.error_code),
            _ => None,
        };
        while code(&answers.0) != code(&answers.1)
            && [code(&answers.0), code(&answers.1)].contains(&Some(TOKEN_NOT_FOUND))
            && start.elapsed() < TOKEN_LAG
        {
            answers.0 = self.java.ask(java, &self.versions)?;
        }
        Ok(answers)
    }

    /// What both logs have got since, sorted: Kafka takes some from a hash map.
    fn new_records(&mut self, places: bool) -> Outcome<(Vec<String>, Vec<String>)> {
        let mut java = shown_all(&self.java.read_log(0)?, &self.java, places);
        let mut ours = shown_all(&self.ours.read_log(0)?, &self.ours, places);
        if java.len() < ours.len() {
            java.extend(shown_all(&self.java.read_log(LAG_MS)?, &self.java, places));
        } else if ours.len() < java.len() {
            ours.extend(shown_all(&self.ours.read_log(LAG_MS)?, &self.ours, places));
        }
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
