//! How a line looks: one JSON object, in the order in which people read it.

use quorate_base::{NodeId, UtcDate};
use serde_json::{Value, json};

/// Names and values, in order.
pub type Fields = Vec<(&'static str, Value)>;

/// A line with its end.
pub fn write(fields: Fields) -> Vec<u8> {
    let mut line = String::from("{");
    for (name, value) in fields {
        if line.len() > 1 {
            line.push(',');
        }
        line.push_str(&format!("\"{name}\":{value}"));
    }
    line.push_str("}\n");
    line.into_bytes()
}

/// A line of the audit about itself.
pub fn note(now_ms: i64, node: NodeId, event: &'static str, more: Fields) -> Vec<u8> {
    let mut fields: Fields =
        vec![("time", json!(time(now_ms))), ("node", json!(node)), ("event", json!(event))];
    fields.extend(more);
    write(fields)
}

/// `2026-11-22T22:38:25.123Z`.
pub fn time(ms: i64) -> String {
    let UtcDate { year, month, day, hour, minute, second, .. } = UtcDate::from_ms(ms);
    let ms = ms.rem_euclid(1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(time(1_795_387_105_123), "2026-11-22T22:38:25.123Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_line_is_one_json_object() {
        let line = note(0, 3, "lost", vec![("count", json!(5)), ("text", json!("a\n\"b\""))]);
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with("{\"time\":\"1970-01-01T00:00:00.000Z\",\"node\":3,"), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["text"], "a\n\"b\"");
    }
}
