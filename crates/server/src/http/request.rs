//! The head of an HTTP/1.1 request, as far as a server of a few fixed pages needs it. Strict: what is
//! ambiguous is refused, so that no proxy before it can see another request than this.

/// Largest head that is read.
pub const HEAD_MAX_BYTES: usize = 8 * 1024;
/// Longest path with its query.
const TARGET_MAX_BYTES: usize = 1024;
/// Most header fields.
const FIELDS_MAX: usize = 64;

/// A GET that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, without its query.
    pub path: String,
    /// The query's `key=value` parts as written.
    pub query: Vec<(String, String)>,
    /// Whether the connection stays open afterwards.
    pub keep_alive: bool,
}

impl Request {
    /// What the query says of this key, as written; empty if nothing.
    pub fn value(&self, key: &str) -> &str {
        self.query.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value)
    }

    /// Whether the query has this value of this key.
    pub fn has(&self, key: &str, value: &str) -> bool {
        self.query.iter().any(|(k, v)| k == key && v == value)
    }
}

/// Why a request is not answered with a page; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// No HTTP, or ambiguous.
    Malformed(&'static str),
    /// Another method than GET.
    Method,
    /// A body, which no page here takes.
    Body,
    /// The path is too long.
    TargetTooLong,
    /// The head or the number of its fields is too large.
    TooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

impl HeadError {
    /// The status code.
    pub fn status(self) -> u16 {
        match self {
            HeadError::Malformed(_) => 400,
            HeadError::Method => 405,
            HeadError::Body => 413,
            HeadError::TargetTooLong => 414,
            HeadError::TooLarge => 431,
            HeadError::Version => 505,
        }
    }

    /// What to tell the client.
    pub fn text(self) -> &'static str {
        match self {
            HeadError::Malformed(why) => why,
            HeadError::Method => "only GET is served",
            HeadError::Body => "requests with a body are not served",
            HeadError::TargetTooLong => "the path is too long",
            HeadError::TooLarge => "the request's head is too large",
            HeadError::Version => "only HTTP/1.0 and HTTP/1.1 are spoken",
        }
    }
}

use HeadError::Malformed;

/// Reads a head from the start of `bytes`: the request and how many bytes it took, or nothing if more
/// bytes are needed.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, HeadError> {
    let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
        // A client that will never send a head is told so as early as possible.
        let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if first_line.len() > TARGET_MAX_BYTES + 64 {
            return Err(HeadError::TargetTooLong);
        }
        if let Some(bad) = bytes.iter().find(|byte| !is_text(**byte)) {
            return Err(Malformed(if *bad == 0x16 {
                "this port does not speak TLS"
            } else {
                NOT_TEXT
            }));
        }
        return match bytes.len() >= HEAD_MAX_BYTES {
            true => Err(HeadError::TooLarge),
            false => Ok(None),
        };
    };
    if end + 4 > HEAD_MAX_BYTES {
        return Err(HeadError::TooLarge);
    }
    let head = bytes.get(..end).unwrap_or_default();
    if !head.iter().all(|byte| is_text(*byte)) {
        return Err(Malformed(NOT_TEXT));
    }
    let head = std::str::from_utf8(head).map_err(|_| Malformed(NOT_TEXT))?;
    let mut lines = head.split("\r\n");
    let (target, is_1_1) = parse_request_line(lines.next().unwrap_or_default())?;
    let keep_alive = parse_fields(lines, is_1_1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|it| !it.is_empty());
    let query = pairs
        .map(|it| it.split_once('=').unwrap_or((it, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Ok(Some((Request { path: path.to_owned(), query, keep_alive }, end + 4)))
}

const NOT_TEXT: &str = "the request holds bytes that are not text";

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..=0x7e)
}

fn parse_request_line(line: &str) -> Result<(&str, bool), HeadError> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed("the request line is not METHOD PATH VERSION"));
    };
    let is_1_1 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        other if other.starts_with("HTTP/") => return Err(HeadError::Version),
        _ => return Err(Malformed("the request line is not METHOD PATH VERSION")),
    };
    if line.contains(['\r', '\n', '\t']) {
        return Err(Malformed("lines end with CR LF"));
    }
    if method != "GET" {
        return Err(HeadError::Method);
    }
    if target.len() > TARGET_MAX_BYTES {
        return Err(HeadError::TargetTooLong);
    }
    if !target.starts_with('/') {
        return Err(Malformed("the path does not start with /"));
    }
    Ok((target, is_1_1))
}

/// Whether the connection stays open.
fn parse_fields<'a>(lines: impl Iterator<Item = &'a str>, is_1_1: bool) -> Result<bool, HeadError> {
    let mut keep_alive = is_1_1;
    for (at, line) in lines.enumerate() {
        if at >= FIELDS_MAX {
            return Err(HeadError::TooLarge);
        }
        if line.contains(['\r', '\n']) {
            return Err(Malformed("lines end with CR LF"));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(Malformed("a header field has no colon"));
        };
        let name_ok = !name.is_empty() && !name.contains([' ', '\t']);
        if !name_ok {
            return Err(Malformed("a header field's name holds blanks"));
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" if value != "0" => return Err(HeadError::Body),
            "transfer-encoding" => return Err(HeadError::Body),
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        keep_alive = false;
                    } else if option.eq_ignore_ascii_case("keep-alive") {
                        keep_alive = true;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(keep_alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Request, usize)>, HeadError> {
        parse_head(text.as_bytes())
    }

    #[test]
    fn a_get_is_read_and_what_follows_is_left() {
        let text = "GET /status?hash=1&x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET";
        let (request, used) = parse(text).unwrap().unwrap();
        assert_eq!(used, text.len() - 3);
        assert_eq!(request.path, "/status");
        assert!(request.has("hash", "1") && request.has("x", "") && request.keep_alive);
        let closing = parse("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").unwrap().unwrap().0;
        assert!(!closing.keep_alive);
        let old = parse("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().0;
        assert!(!old.keep_alive && old.query.is_empty());
        let kept = parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().unwrap().0;
        assert!(kept.keep_alive);
    }

    #[test]
    fn every_prefix_of_a_request_asks_for_more() {
        let text = "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_not_served_has_its_own_status() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1024));
        let endless = format!("GET /{}", "x".repeat(4000));
        let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(9000));
        let endless_field = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(9000));
        for (text, status) in [
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("get / HTTP/1.1\r\n\r\n", 405),
            ("HEAD / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET x HTTP/1.1\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\na b: c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n folded: c\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
            ("\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}", 400),
            ("GET /\u{0} HTTP/1.1\r\n\r\n", 400),
            ("GET /ü HTTP/1.1\r\n\r\n", 400),
            (&many, 431),
            (&large, 431),
            (&endless_field, 431),
            (&long, 414),
            (&endless, 414),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.status(), status, "{text:?}");
            assert!(!error.text().is_empty());
        }
    }
}
