//! One metric of Kafka has three names in public dashboards, depending on who carried it from JMX to
//! Prometheus. All three follow rules, which are here.

use super::table::{Metric, Shape, Values};
use super::text::{Family, Kind, Labels, Page, Point};
use crate::telemetry::Distribution;

/// Who would have exported the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus' JMX exporter with the rules that Strimzi ships.
    Strimzi,
    /// Prometheus' JMX exporter with the rules of Confluent's jmx-monitoring-stacks.
    Confluent,
    /// Strimzi's Metrics Reporter.
    Reporter,
    /// No dialect of Kafka's metrics but the names that the JVM's own metrics have in all three.
    Jvm,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 4] =
        [Dialect::Strimzi, Dialect::Confluent, Dialect::Reporter, Dialect::Jvm];

    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Strimzi => "strimzi",
            Dialect::Confluent => "confluent",
            Dialect::Reporter => "reporter",
            Dialect::Jvm => "jvm",
        }
    }

    /// The dialect of a word.
    pub fn parse(word: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(word))
    }

    /// The name and kind of a metric, if this dialect has it.
    pub fn name_of(self, metric: &Metric) -> Option<(String, Kind)> {
        let name = metric.name;
        match metric.shape {
            Shape::Own(kind) => Some((name.to_owned(), kind)),
            Shape::Jvm(kind) => (self == Dialect::Jvm).then(|| (name.to_owned(), kind)),
            _ if self == Dialect::Jvm => None,
            Shape::Gauge => Some(match (self, name.strip_suffix("Percent")) {
                (Dialect::Strimzi, Some(stem)) => (bean(metric, stem) + "_percent", Kind::Gauge),
                _ => (bean(metric, name), Kind::Gauge),
            }),
            Shape::Meter => Some(match self {
                Dialect::Strimzi => {
                    let stem = name.strip_suffix("PerSec").unwrap_or(name);
                    (bean(metric, stem) + "_total", Kind::Counter)
                }
                Dialect::Reporter => (bean(metric, name) + "_total", Kind::Counter),
                _ => (bean(metric, name), Kind::Gauge),
            }),
            Shape::Timer => Some((
                bean(metric, name),
                if self == Dialect::Reporter { Kind::Summary } else { Kind::Gauge },
            )),
            Shape::Attribute => self.attribute(metric),
            Shape::State => match self {
                // Its rules have one for this word alone.
                Dialect::Strimzi if name == "current-state" => self.attribute(metric),
                Dialect::Reporter => {
                    self.attribute(metric).map(|(name, kind)| (name + "_info", kind))
                }
                _ => None,
            },
        }
    }

    /// Attributes of Kafka's own metrics library: words joined by hyphens.
    fn attribute(self, metric: &Metric) -> Option<(String, Kind)> {
        let raft = matches!(metric.group.1, "raft-metrics" | "raft-channel-metrics");
        let channel = metric.group.1 == "raft-channel-metrics";
        let group = match self {
            // Their rules name the two groups; a rule for node-metrics is in neither set.
            _ if metric.group.1 == "node-metrics" && self != Dialect::Reporter => return None,
            Dialect::Confluent if channel => return None,
            Dialect::Strimzi if raft => metric.group.1.replace('-', ""),
            _ => metric.group.1.replace('-', "_"),
        };
        let mut name = metric.name.replace('-', "_");
        let total = name.ends_with("_total");
        let grows = total || name.ends_with("_max");
        let kind = match self {
            Dialect::Strimzi if grows => Kind::Counter,
            _ => Kind::Gauge,
        };
        if self == Dialect::Reporter && total {
            name.truncate(name.len() - "_total".len());
        }
        Some((format!("{}_{group}_{name}", metric.group.0), kind))
    }

    /// Puts the values of a metric on the page under this dialect's name.
    pub fn put(self, metric: &Metric, values: &Values, page: &mut Page) {
        let Some((name, kind)) = self.name_of(metric) else { return };
        let help = metric.help;
        let mut points = Vec::new();
        let mut counts = Vec::new();
        match values {
            Values::Numbers(rows) => {
                for (labels, value) in rows {
                    points.push(point("", self.labels(labels), *value));
                }
            }
            Values::Word(word) => {
                let label = metric.name.replace('-', "_");
                points.push(point("", vec![(label, word.clone())], 1.0));
            }
            Values::Distributions(rows) => {
                for (labels, read) in rows {
                    let labels = self.labels(labels);
                    match kind {
                        Kind::Histogram => buckets(&labels, read, &mut points),
                        _ => self.quantiles(&labels, read, &mut points, &mut counts),
                    }
                }
            }
        }
        let counts_name = format!("{name}_count");
        page.add(Family { name, kind, help, points });
        page.add(Family { name: counts_name, kind: Kind::Counter, help, points: counts });
    }

    fn quantiles(
        self,
        labels: &Labels,
        read: &Distribution,
        points: &mut Vec<Point>,
        counts: &mut Vec<Point>,
    ) {
        let count = read.count as f64;
        if self == Dialect::Confluent {
            return points.push(point("", labels.clone(), count));
        }
        for (quantile, seconds) in &read.quantiles {
            let text = match self {
                // Made by its rules from `50thPercentile`.
                Dialect::Strimzi if *quantile == 0.5 => "0.50".to_owned(),
                _ => quantile.to_string(),
            };
            let mut labels = labels.clone();
            labels.push(("quantile".to_owned(), text));
            points.push(point("", labels, seconds * 1000.0));
        }
        match self {
            Dialect::Reporter => points.push(point("_count", labels.clone(), count)),
            _ => counts.push(point("", labels.clone(), count)),
        }
    }

    fn labels(self, labels: &[(&'static str, String)]) -> Labels {
        let name = |name: &str| match self {
            Dialect::Confluent => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        };
        labels.iter().map(|(key, value)| (name(key), value.clone())).collect()
    }
}

/// `kafka.controller:type=T,name=N` as every rule writes it.
fn bean(metric: &Metric, name: &str) -> String {
    let (domain, kind) = metric.group;
    format!("{domain}_{kind}_{name}").to_ascii_lowercase()
}

fn point(suffix: &'static str, labels: Labels, value: f64) -> Point {
    Point { suffix, labels, value }
}

fn buckets(labels: &Labels, read: &Distribution, points: &mut Vec<Point>) {
    let with_bound = |bound: String| {
        let mut labels = labels.clone();
        labels.push(("le".to_owned(), bound));
        labels
    };
    for (bound, count) in &read.cumulative {
        points.push(point("_bucket", with_bound(bound.to_string()), *count as f64));
    }
    // Counted one by one while others count on: the last bucket is never below one before it.
    let last = read.cumulative.last().map_or(0, |it| it.1);
    let count = read.count.max(last) as f64;
    points.push(point("_bucket", with_bound("+Inf".to_owned()), count));
    points.push(point("_sum", labels.clone(), read.sum_seconds));
    points.push(point("_count", labels.clone(), count));
}
