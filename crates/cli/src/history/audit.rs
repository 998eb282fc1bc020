//! The audits of the controllers, read from their files while they may be written to.

use super::moment::parse_utc;
use quorate_base::{Epoch, Offset};
use quorate_server::audit::file::audit_files;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was written, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// All of it.
    pub value: Value,
}

/// Files, and what was read of them.
#[derive(Debug)]
pub struct Audits {
    places: Vec<PathBuf>,
    /// By device and inode, as files are renamed when they are closed.
    read: BTreeMap<(u64, u64), u64>,
    /// Lines whose records are to be looked up, by epoch and first offset.
    by_records: BTreeMap<(Epoch, Offset), Line>,
    /// Lines that no line of the log answers to, as they were read.
    others: Vec<Line>,
    /// Lines that are none.
    pub unreadable: u64,
}

impl Audits {
    /// Of directories or single files.
    pub fn new(places: Vec<PathBuf>) -> Audits {
        let (read, by_records, others) = Default::default();
        Audits { places, read, by_records, others, unreadable: 0 }
    }

    /// Whether there is anywhere to look.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Reads what is new.
    pub fn read_on(&mut self) -> io::Result<()> {
        for place in self.places.clone() {
            let files = if place.is_dir() { audit_files(&place)? } else { vec![place] };
            for file in files {
                match self.read_file(&file) {
                    // Deleted, for its age, since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &PathBuf) -> io::Result<()> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino());
        let from = self.read.get(&key).copied().unwrap_or(0);
        if metadata.len() <= from {
            return Ok(());
        }
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may still be written.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
            self.take(line);
        }
        self.read.insert(key, from + whole as u64);
        Ok(())
    }

    fn take(&mut self, line: &[u8]) {
        let read = serde_json::from_slice::<Value>(line).ok();
        let line = read.and_then(|value| {
            let time_ms = parse_utc(value["time"].as_str()?)?;
            Some(Line { time_ms, value })
        });
        let Some(line) = line else {
            self.unreadable += 1;
            return;
        };
        let records = &line.value["records"];
        let epoch = records["epoch"].as_i64().and_then(|it| Epoch::try_from(it).ok());
        match epoch.zip(records["first"].as_i64()) {
            Some(key) => drop(self.by_records.insert(key, line)),
            // That an audit began or ended is not history.
            None if line.value["event"] == "started" || line.value["event"] == "ended" => {}
            None => self.others.push(line),
        }
    }

    /// The line of whoever had this part of the log written.
    pub fn of(&self, first: Offset, last: Offset, epoch: Epoch) -> Option<&Line> {
        let (key, line) = self.by_records.range(..=(epoch, first)).next_back()?;
        let line_last = line.value["records"]["last"].as_i64()?;
        (key.0 == epoch && last <= line_last).then_some(line)
    }

    /// The lines without records that were read since the last call, by time.
    pub fn take_others(&mut self) -> Vec<Line> {
        let mut others = std::mem::take(&mut self.others);
        others.sort_by_key(|it| it.time_ms);
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(name: &str, first: Offset, last: Offset, epoch: Epoch) -> String {
        format!(
            "{{\"time\":\"2026-11-22T22:38:25.123Z\",\"principal\":\"{name}\",\
             \"records\":{{\"first\":{first},\"last\":{last},\"epoch\":{epoch}}}}}\n"
        )
    }

    #[test]
    fn lines_are_found_by_their_records_and_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let text = [line("a", 10, 12, 1), line("b", 13, 30, 1), line("c", 13, 13, 2)].concat();
        std::fs::write(dir.path().join("quorate-audit.log"), text).unwrap();
        let mut audits = Audits::new(vec![dir.path().to_owned()]);
        audits.read_on().unwrap();
        let who = |epoch, first, last| {
            audits.of(first, last, epoch).map(|it| it.value["principal"].clone())
        };
        assert_eq!(who(1, 10, 12), Some("a".into()));
        // A large decision is appended in several batches.
        assert_eq!(who(1, 20, 30), Some("b".into()));
        assert_eq!(who(2, 13, 13), Some("c".into()));
        assert_eq!(who(1, 9, 9), None);
        assert_eq!(who(1, 31, 31), None);
        assert_eq!(who(3, 13, 13), None);
    }

    #[test]
    fn what_is_written_meanwhile_is_read_once_also_across_a_renaming() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("quorate-audit.log");
        let denied = "{\"time\":\"2026-11-22T22:38:25.123Z\",\"n\":1}\n";
        std::fs::write(&current, format!("{denied}rubbish\n{{\"tim")).unwrap();
        let mut audits = Audits::new(vec![dir.path().to_owned()]);
        audits.read_on().unwrap();
        assert_eq!((audits.take_others().len(), audits.unreadable), (1, 1));
        let mut file = File::options().append(true).open(&current).unwrap();
        file.write_all(&denied.as_bytes()[5..]).unwrap();
        let closed = dir.path().join("quorate-audit-20261122T223900.000Z.log");
        std::fs::rename(&current, closed).unwrap();
        std::fs::write(&current, denied).unwrap();
        audits.read_on().unwrap();
        assert_eq!((audits.take_others().len(), audits.unreadable), (2, 1));
        audits.read_on().unwrap();
        assert_eq!(audits.take_others().len(), 0);
    }
}
