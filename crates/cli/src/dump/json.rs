//! JSON out of the one generic view that every record has, its derived `Debug`.
//!
//! Structs become objects with Kafka's field names (camel case), `Some(x)` is `x`, `None` is null,
//! bytes are base64, UUIDs (22 bare characters) are texts. Unknown tagged fields appear only where
//! there are any.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A JSON string.
pub fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Standard base64, padded.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The JSON of a value whose derived `Debug` is `debug`. What does not look like one is given
/// whole, as a string.
pub fn from_debug(debug: &str) -> String {
    let mut parser = Parser { rest: debug };
    match parser.value() {
        Some(value) if parser.rest.is_empty() => value,
        _ => text(debug),
    }
}

const UUID_TEXT_LEN: usize = 22;

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Option<String> {
        if self.eat("b\"") {
            return self.quoted().map(|bytes| format!("\"{}\"", base64(&bytes)));
        }
        if self.eat("\"") {
            return self.quoted().map(|bytes| text(&String::from_utf8_lossy(&bytes)));
        }
        if self.eat("[") {
            return Some(format!("[{}]", self.items("]", Parser::value)?.join(",")));
        }
        if self.eat("{") {
            return self.object("}", Parser::map_key);
        }
        let word = self.word();
        if self.eat(" { ") {
            return self.object(" }", Parser::field_name);
        }
        if self.eat("(") {
            let mut items = self.items(")", Parser::value)?;
            return if items.len() == 1 { items.pop() } else { None };
        }
        match word {
            "" => None,
            "None" => Some("null".to_owned()),
            "true" | "false" => Some(word.to_owned()),
            _ if word.len() == UUID_TEXT_LEN && !word.contains('.') => Some(text(word)),
            _ if word.parse::<f64>().is_ok_and(f64::is_finite) => Some(word.to_owned()),
            // NaN, infinities, variants without fields.
            _ => Some(text(word)),
        }
    }

    fn object(&mut self, close: &str, key: impl Fn(&mut Self) -> Option<String>) -> Option<String> {
        let fields = self.items(close, |parser| {
            let key = key(parser)?;
            parser.eat(": ").then_some(())?;
            Some((key, parser.value()?))
        })?;
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|(key, value)| !(key == "unknownTags" && value == "null"))
            .map(|(key, value)| format!("{}:{value}", text(&key)))
            .collect();
        Some(format!("{{{}}}", fields.join(",")))
    }

    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.eat(", ").then_some(())?;
            }
            items.push(item(self)?);
        }
        Some(items)
    }

    fn field_name(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut upper = false;
        for c in self.word().chars() {
            match c {
                '_' => upper = true,
                c if upper => {
                    out.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => out.push(c),
            }
        }
        (!out.is_empty()).then_some(out)
    }

    fn map_key(&mut self) -> Option<String> {
        let word = self.word();
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn word(&mut self) -> &'a str {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// What is between the quotes, the opening one already eaten, with Rust's escapes undone.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push(b'\n'),
                    'r' => out.push(b'\r'),
                    't' => out.push(b'\t'),
                    '0' => out.push(0),
                    'x' => {
                        let (high, low) = (chars.next()?.1, chars.next()?.1);
                        out.push((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8);
                    }
                    'u' => {
                        let hex: String = chars
                            .by_ref()
                            .map(|(_, c)| c)
                            .skip(1)
                            .take_while(|c| *c != '}')
                            .collect();
                        let c = char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?;
                        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
                },
                c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        None
    }

    fn eat(&mut self, expected: &str) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Sample {
        topic_id: quorate_base::Uuid,
        name: &'static str,
        data: Bytes,
        isr: Option<Vec<i32>>,
        none: Option<i32>,
        inner: Vec<Inner>,
        ratio: f64,
        empty: Vec<i32>,
    }

    #[derive(Debug)]
    #[allow(dead_code)]
    struct Inner {
        host_name: String,
        r#type: i8,
    }

    #[test]
    fn derived_debug_becomes_the_json_that_kafka_prints() {
        let sample = Sample {
            topic_id: quorate_base::Uuid::ONE,
            name: "a\"b\\c\n{é}, d: [1]\u{1}",
            data: Bytes::from_static(b"\x00\"ab\xff, }"),
            isr: Some(vec![1, -2]),
            none: None,
            inner: vec![Inner { host_name: "h".into(), r#type: -1 }],
            ratio: 1.5e300,
            empty: vec![],
        };
        assert_eq!(
            from_debug(&format!("Wrapped({sample:?})")),
            "{\"topicId\":\"AAAAAAAAAAAAAAAAAAAAAQ\",\
             \"name\":\"a\\\"b\\\\c\\n{é}, d: [1]\\u0001\",\"data\":\"ACJhYv8sIH0=\",\
             \"isr\":[1,-2],\"none\":null,\"inner\":[{\"hostName\":\"h\",\"type\":-1}],\
             \"ratio\":1.5e300,\"empty\":[]}"
        );
    }

    #[test]
    fn what_is_no_debug_output_is_given_whole() {
        for odd in ["", "Foo {", "[1, 2", "b\"x", "(1, 2)"] {
            assert_eq!(from_debug(odd), text(odd));
        }
    }
}
