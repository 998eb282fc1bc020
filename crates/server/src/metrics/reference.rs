//! Prints the table of metrics as a page of documentation.

use super::dialect::Dialect;
use super::table::{Metric, Shape};
use super::{own, table};
use std::fmt::Write;

/// `docs/reference/metrics.md`, whole.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `quorate.http.listener` serves `/metrics` in Prometheus' text format. This page is printed from the table that the\n\
         program exports from; do not edit it by hand.\n\n\
         Kafka's metrics have other names depending on what carried them to Prometheus. `quorate.metrics.dialects` lists\n\
         the dialects to speak: `strimzi` (JMX exporter with Strimzi's rules), `confluent` (JMX exporter with the rules of\n\
         jmx-monitoring-stacks), `reporter` (Strimzi's Metrics Reporter), and `jvm` for a few numbers that dashboards of Java\n\
         programs ask for. Where two of them mean different things by one name, its type is `untyped`.\n\n\
         Quantiles are labels: `quantile=\"0.99\"`, in milliseconds, over the last one to two minutes; the dialect `confluent`\n\
         has the count under that name instead, as its rules do. Kafka's other percentiles, `Min`, `Max` and rates are left\n\
         to Prometheus. Averages and maxima of `raft-metrics` are `NaN` while there is nothing to average, as Kafka's are.\n\n\
         Not exported: metrics of the JVM's selectors and of authentication on the raft channel, `app-info` (see\n\
         `quorate_build_info`), `NetworkProcessorAvgIdlePercent`, and the ZooKeeper migration's.\n\n\
         ## Kafka's\n\n\
         | Kafka's name | strimzi | confluent | reporter | meaning |\n|---|---|---|---|---|\n",
    );
    let cell = |dialect: Dialect, metric: &Metric| match dialect.name_of(metric) {
        Some((name, _)) => format!("`{name}`"),
        None => "–".to_owned(),
    };
    let is_jvm = |metric: &&Metric| matches!(metric.shape, Shape::Jvm(_));
    for metric in table::METRICS.iter().filter(|it| !is_jvm(it)) {
        let (domain, kind) = metric.group;
        let names =
            [Dialect::Strimzi, Dialect::Confluent, Dialect::Reporter].map(|it| cell(it, metric));
        let _ = writeln!(
            page,
            "| {} {kind} {} | {} | {} |",
            domain.replace('_', "."),
            metric.name,
            names.join(" | "),
            metric.help
        );
    }
    page.push_str("\n## Of the dialect `jvm`\n\n| name | type | meaning |\n|---|---|---|\n");
    for metric in table::METRICS.iter().filter(is_jvm) {
        write_own(&mut page, metric);
    }
    page.push_str(
        "\n## Quorate's own\n\nThe same in each dialect.\n\n| name | type | meaning |\n|---|---|---|\n",
    );
    for metric in own::METRICS {
        write_own(&mut page, metric);
    }
    page
}

fn write_own(page: &mut String, metric: &Metric) {
    if let Shape::Own(kind) | Shape::Jvm(kind) = metric.shape {
        let _ = writeln!(page, "| `{}` | {} | {} |", metric.name, kind.name(), metric.help);
    }
}
