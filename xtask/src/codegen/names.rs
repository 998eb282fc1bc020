//! From Kafka's names to Rust's.

/// `TimeoutMs` and `timeoutMs` become `timeout_ms`; `KRaft` counts as one word.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_word = i > 0 && !chars[i - 1].is_ascii_uppercase();
        let before_word = i > 0 && chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (after_word || before_word) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A field's name in Rust.
pub fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "type" | "match" | "ref" | "use" | "move" | "fn" | "mod" => format!("r#{snake}"),
        _ => snake,
    }
}

/// A struct's name in Rust: as upstream writes it.
pub fn rust_type(name: &str) -> String {
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_where_a_reader_would() {
        for (name, want) in [
            ("TimeoutMs", "timeout_ms"),
            ("timeoutMs", "timeout_ms"),
            ("KRaftVersionRecord", "kraft_version_record"),
            ("DescribeAclsRequest", "describe_acls_request"),
            ("TopicID", "topic_id"),
            ("HostIPAddress", "host_ip_address"),
        ] {
            assert_eq!(snake(name), want);
        }
        assert_eq!(field("Type"), "r#type");
    }
}
