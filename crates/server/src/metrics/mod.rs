//! What `/metrics` shows: everything Kafka's controllers export, under the names that public dashboards
//! ask for, and what Quorate adds. One table, [`table::METRICS`] and [`own::METRICS`], says what there
//! is; the page and the reference are printed from it.

pub mod dialect;
pub mod files;
pub mod own;
pub mod process;
pub mod reference;
pub mod sample;
pub mod table;
pub mod text;

use dialect::Dialect;
use sample::Sample;
use table::Metric;
use text::Page;

/// Every row there is, Kafka's first.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    table::METRICS.iter().chain(own::METRICS)
}

/// The page of a sample.
pub fn page(sample: &Sample, dialects: &[Dialect]) -> Page {
    let mut page = Page::default();
    for metric in all() {
        let shown: Vec<Dialect> =
            dialects.iter().copied().filter(|it| it.name_of(metric).is_some()).collect();
        if shown.is_empty() && !metric.is_own() {
            continue;
        }
        let values = (metric.source)(sample);
        if metric.is_own() {
            // The same in each dialect, and there without any.
            Dialect::Reporter.put(metric, &values, &mut page);
            continue;
        }
        for dialect in shown {
            dialect.put(metric, &values, &mut page);
        }
    }
    page
}
