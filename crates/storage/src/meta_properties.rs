//! `meta.properties`: which cluster and node a directory belongs to.

use crate::disk::{Disk, read_text, replace_file};
use crate::error::StorageError;
use quorate_base::{NodeId, Prng, UtcDate, Uuid};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file, in the root of each log directory.
pub const META_PROPERTIES: &str = "meta.properties";

/// The content of a version 1 file, the only one that KRaft knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaProperties {
    /// A free text, normally the text of a UUID.
    pub cluster_id: String,
    /// Who owns the directory.
    pub node_id: NodeId,
    /// The directory's own id (KIP-858); missing in directories formatted by very old Kafka. For a
    /// voter it is half of its identity, so it is never changed.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads the file in `dir`; `None` if the directory is not formatted.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, StorageError> {
        let file = dir.join(META_PROPERTIES);
        let Some(text) = read_text(disk, &file)? else { return Ok(None) };
        Self::parse(&text).map(Some).map_err(|why| StorageError::BadFile { file, why })
    }

    /// Writes the file in `dir`, durably. `now_ms`: wall time, for the comment Kafka writes.
    pub fn save(&self, disk: &dyn Disk, dir: &Path, now_ms: i64) -> Result<(), StorageError> {
        replace_file(disk, &dir.join(META_PROPERTIES), self.text(now_ms).as_bytes())
    }

    fn parse(text: &str) -> Result<MetaProperties, String> {
        let properties = parse_properties(text);
        let get = |key: &str| properties.get(key).map(String::as_str);
        match get("version") {
            Some("1") => {}
            Some("0") => {
                return Err(
                    "it has version 0, from the time of ZooKeeper; migrate the cluster to \
                            KRaft with Kafka 3.9 first"
                        .to_owned(),
                );
            }
            Some(other) => {
                return Err(format!("it has version {other}, this build reads version 1"));
            }
            None => return Err("it has no version; format the directory again".to_owned()),
        }
        let node_id = get("node.id").ok_or("it has no node.id")?;
        let node_id = node_id.parse::<NodeId>().ok().filter(|id| *id >= 0);
        let directory_id = get("directory.id").map(str::parse::<Uuid>).transpose();
        Ok(MetaProperties {
            cluster_id: get("cluster.id").ok_or("it has no cluster.id")?.to_owned(),
            node_id: node_id.ok_or("its node.id is not a number from 0 up")?,
            directory_id: directory_id.map_err(|error| format!("its directory.id: {error}"))?,
        })
    }

    fn text(&self, now_ms: i64) -> String {
        let directory = self.directory_id.map(|id| format!("directory.id={id}\n"));
        format!(
            "#\n#{}\nnode.id={}\n{}version=1\ncluster.id={}\n",
            java_date(now_ms),
            self.node_id,
            directory.unwrap_or_default(),
            escape(&self.cluster_id)
        )
    }
}

/// A directory id that is in none of the given directories yet.
pub fn new_directory_id(prng: &mut Prng, taken: &[(PathBuf, MetaProperties)]) -> Uuid {
    loop {
        let id = Uuid::random(prng);
        if taken.iter().all(|(_, meta)| meta.directory_id != Some(id)) {
            return id;
        }
    }
}

/// Java's `.properties`, as far as Kafka's own files use it: comments, `=` or `:`, escapes.
fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (mut key, mut value, mut in_value) = (String::new(), String::new(), false);
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            let (c, escaped) = match c {
                '\\' => (chars.next().unwrap_or('\\'), true),
                c => (c, false),
            };
            if in_value {
                value.push(c);
            } else if !escaped && (c == '=' || c == ':') {
                in_value = true;
            } else {
                key.push(c);
            }
        }
        properties.insert(key.trim_end().to_owned(), value.trim().to_owned());
    }
    properties
}

fn escape(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        if matches!(c, '\\' | '=' | ':' | '#' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `Sun Nov 22 14:16:22 UTC 2026`, as `java.util.Properties` heads its files.
fn java_date(wall_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let UtcDate { year, month, day, day_of_week, hour, minute, second } = UtcDate::from_ms(wall_ms);
    format!(
        "{} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}",
        DAYS[day_of_week as usize],
        MONTHS[month as usize - 1],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_java() {
        assert_eq!(java_date(1_795_356_982_302), "Sun Nov 22 14:16:22 UTC 2026");
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(1_709_210_096_000), "Thu Feb 29 12:34:56 UTC 2024");
    }

    #[test]
    fn text_survives_a_round_trip_and_odd_cluster_ids() {
        for cluster_id in ["AAAAAAAAQACAAAAAAAAAAA", "a=b:c#d!e\\f", "with space"] {
            let cluster_id = cluster_id.to_owned();
            let meta = MetaProperties { cluster_id, node_id: 3, directory_id: Some(Uuid::ONE) };
            assert_eq!(MetaProperties::parse(&meta.text(0)), Ok(meta));
        }
    }

    #[test]
    fn what_is_not_version_1_is_refused_with_the_way_on() {
        let parse = |text| MetaProperties::parse(text).unwrap_err();
        assert!(parse("version=0\nbroker.id=1\ncluster.id=x\n").contains("ZooKeeper"));
        assert!(parse("version=7\n").contains("version 7"));
        assert!(parse("version=1\ncluster.id=x\n").contains("node.id"));
        assert!(parse("version=1\nnode.id=-4\ncluster.id=x\n").contains("from 0 up"));
        assert!(parse("version=1\nnode.id=4\n").contains("cluster.id"));
    }
}
