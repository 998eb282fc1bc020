//! Which topic names are allowed, and which differ too little.

use quorate_metadata::{Topic, Topics};

/// Longest name of a topic, in bytes.
pub const MAX_NAME_LENGTH: usize = 249;

/// The metadata log's name, which no topic may have.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// A name with up to so many `.` and `_` is looked for in each way of writing it.
const MAX_PROBED_MARKS: usize = 6;

/// Checks a name for a new topic; says why if it cannot be one.
pub fn validate(name: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("Topic name is invalid: {why}"));
    if name.is_empty() {
        return refuse("it is empty".to_owned());
    }
    if name == "." || name == ".." {
        return refuse(format!("'{name}' is not allowed"));
    }
    if name.len() > MAX_NAME_LENGTH {
        let length = name.len();
        return refuse(format!("it has {length} characters, {MAX_NAME_LENGTH} are allowed"));
    }
    if !name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-')) {
        return refuse(format!(
            "'{name}' has characters other than ASCII letters, digits, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// An existing topic whose name differs from `name` only in `.` against `_` (or not at all): the
/// metrics of both would be the same.
pub fn colliding<'a>(topics: &'a Topics, name: &str) -> Option<&'a Topic> {
    let marks: Vec<usize> =
        name.bytes().enumerate().filter(|(_, it)| is_mark(*it)).map(|(i, _)| i).collect();
    let first = *marks.first()?;
    if marks.len() <= MAX_PROBED_MARKS {
        return (0..1u32 << marks.len()).find_map(|choice| {
            let mut spelling = name.as_bytes().to_vec();
            for (bit, position) in marks.iter().enumerate() {
                spelling[*position] = if choice >> bit & 1 == 0 { b'.' } else { b'_' };
            }
            topics.by_name(std::str::from_utf8(&spelling).ok()?)
        });
    }
    let prefix = &name[..first];
    topics
        .iter_by_name_from(prefix)
        .take_while(|it| it.name.starts_with(prefix))
        .find(|it| is_same_but_for_marks(&it.name, name))
}

fn is_same_but_for_marks(a: &str, b: &str) -> bool {
    let same = |(x, y): (u8, u8)| x == y || (is_mark(x) && is_mark(y));
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(same)
}

fn is_mark(byte: u8) -> bool {
    byte == b'.' || byte == b'_'
}
