//! Reads Java's `.properties` syntax: comments, continuation lines, escapes, three kinds of separator.

use std::fmt;
use std::path::Path;
use thiserror::Error;

/// Where a setting was read: a file and line, or the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of a properties file, counted from 1; a continued line counts as its first.
    File {
        /// The file as it was named on the command line.
        file: String,
        /// Line, from 1.
        line: usize,
    },
    /// `--override key=value`.
    Override,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { file, line } => write!(f, "{file}:{line}"),
            Source::Override => f.write_str("--override"),
        }
    }
}

/// One `key=value` as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The name, unescaped.
    pub key: String,
    /// The value, unescaped and trimmed at its end as Kafka trims values.
    pub value: String,
    /// Where it stands.
    pub source: Source,
}

/// Why a properties file cannot be read.
#[derive(Debug, Error)]
pub enum PropertiesError {
    /// The file is missing or unreadable.
    #[error("cannot read {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// A `\u` escape without four hexadecimal digits.
    #[error("{at}: malformed \\u escape: write \\u and four hexadecimal digits")]
    BadEscape {
        /// Where.
        at: Source,
    },
    /// `--override` without a `=`.
    #[error("--override {text}: expected KEY=VALUE")]
    BadOverride {
        /// What was given.
        text: String,
    },
}

/// The settings of a file, in order. A later one replaces an earlier one of the same name.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    entries: Vec<Property>,
}

impl Properties {
    /// Reads a file. Bytes are taken as ISO 8859-1, as Java does for properties; ASCII is the same
    /// in either.
    pub fn read(path: &Path) -> Result<Properties, PropertiesError> {
        let file = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Properties::parse(&bytes, &file),
            Err(why) => Err(PropertiesError::Unreadable { file, why }),
        }
    }

    /// Parses the bytes of a file; `file` is only for messages.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Properties, PropertiesError> {
        let text: Vec<char> = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut properties = Properties::default();
        for (line, logical) in logical_lines(&text) {
            let source = Source::File { file: file.to_owned(), line };
            let (key, value) = split_key(&logical);
            let key = unescape(key, &source)?;
            let value = unescape(value, &source)?.trim_end().to_owned();
            properties.put(Property { key, value, source });
        }
        Ok(properties)
    }

    /// Adds `key=value` from the command line; it wins over the file.
    pub fn override_with(&mut self, text: &str) -> Result<(), PropertiesError> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(PropertiesError::BadOverride { text: text.to_owned() });
        };
        self.put(Property {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            source: Source::Override,
        });
        Ok(())
    }

    fn put(&mut self, property: Property) {
        self.entries.retain(|entry| entry.key != property.key);
        self.entries.push(property);
    }

    /// The setting of this name.
    pub fn get(&self, key: &str) -> Option<&Property> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// All settings, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.entries.iter()
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Joins continued lines, drops blank lines and comments. Each comes with the number of its first line.
fn logical_lines(text: &[char]) -> Vec<(usize, Vec<char>)> {
    let mut out = Vec::new();
    let mut current: Option<(usize, Vec<char>)> = None;
    for (index, line) in natural_lines(text).into_iter().enumerate() {
        let start = line.iter().position(|&c| !is_blank(c)).unwrap_or(line.len());
        let line = line.get(start..).unwrap_or_default();
        let continued = current.is_some();
        if !continued && (line.is_empty() || matches!(line.first(), Some('#' | '!'))) {
            continue;
        }
        let backslashes = line.iter().rev().take_while(|&&c| c == '\\').count();
        let goes_on = backslashes % 2 == 1;
        let body = if goes_on { &line[..line.len() - 1] } else { line };
        let (_, logical) = current.get_or_insert_with(|| (index + 1, Vec::new()));
        logical.extend_from_slice(body);
        if !goes_on {
            out.extend(current.take());
        }
    }
    out.extend(current);
    out
}

/// Lines end with `\n`, `\r` or `\r\n`.
fn natural_lines(text: &[char]) -> Vec<&[char]> {
    let mut lines = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            '\n' => {
                lines.push(&text[start..at]);
                start = at + 1;
            }
            '\r' => {
                lines.push(&text[start..at]);
                if text.get(at + 1) == Some(&'\n') {
                    at += 1;
                }
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// The key ends at the first unescaped `=`, `:` or blank; the value starts after that separator and
/// the blanks around it.
fn split_key(line: &[char]) -> (&[char], &[char]) {
    let mut escaped = false;
    let end = line.iter().position(|&c| {
        let ends = !escaped && (c == '=' || c == ':' || is_blank(c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, &[]) };
    let (key, mut rest) = line.split_at(end);
    let mut separator_seen = false;
    while let Some((&c, tail)) = rest.split_first() {
        if !is_blank(c) {
            if separator_seen || (c != '=' && c != ':') {
                break;
            }
            separator_seen = true;
        }
        rest = tail;
    }
    (key, rest)
}

fn unescape(text: &[char], source: &Source) -> Result<String, PropertiesError> {
    let bad = || PropertiesError::BadEscape { at: source.clone() };
    // Java strings are UTF-16: two \u escapes may form one character.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.iter();
    while let Some(&c) = chars.next() {
        let c = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let mut unit: u16 = 0;
                    for _ in 0..4 {
                        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or_else(bad)?;
                        unit = (unit << 4) | digit as u16;
                    }
                    units.push(unit);
                    continue;
                }
                Some(&other) => other,
            }
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(String, String)> {
        let parsed = Properties::parse(text.as_bytes(), "f").expect("well formed");
        parsed.iter().map(|p| (p.key.clone(), p.value.clone())).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_and_blanks() {
        assert_eq!(
            parse("# c\n! c\n\n a=1\nb : 2\nc   3\nd\n  e =\nf==x\ng=a b \r\nh:=:"),
            [
                pair("a", "1"),
                pair("b", "2"),
                pair("c", "3"),
                pair("d", ""),
                pair("e", ""),
                pair("f", "=x"),
                pair("g", "a b"),
                pair("h", "=:"),
            ]
        );
    }

    #[test]
    fn escapes_as_java_writes_them() {
        assert_eq!(
            parse("listeners=CONTROLLER\\://localhost\\:9093\nk\\=x=1\nt=a\\tb\\u0041\\\\"),
            [
                pair("listeners", "CONTROLLER://localhost:9093"),
                pair("k=x", "1"),
                pair("t", "a\tbA\\"),
            ]
        );
        assert_eq!(parse("x=\\uD83D\\uDE00"), [pair("x", "😀")]);
    }

    #[test]
    fn continued_lines_join_without_their_indentation() {
        assert_eq!(parse("a=1,\\\n   2,\\\n\t3\nb=2"), [pair("a", "1,2,3"), pair("b", "2")]);
        assert_eq!(parse("a=1\\\\\nb=2"), [pair("a", "1\\"), pair("b", "2")]);
        assert_eq!(parse("a=1\\"), [pair("a", "1")]);
    }

    #[test]
    fn later_wins_and_sources_are_known() {
        let mut parsed = Properties::parse(b"a=1\nb=2\na=3", "f").unwrap();
        assert_eq!(parsed.get("a").unwrap().source.to_string(), "f:3");
        parsed.override_with("b= 5 ").unwrap();
        let b = parsed.get("b").unwrap();
        assert_eq!((b.value.as_str(), b.source.to_string().as_str()), ("5", "--override"));
        assert!(parsed.override_with("nonsense").is_err());
    }

    #[test]
    fn a_malformed_escape_names_its_line() {
        let error = Properties::parse(b"a=1\nb=\\u12", "server.properties").unwrap_err();
        assert!(error.to_string().starts_with("server.properties:2:"), "{error}");
    }
}
