//! `sasl.jaas.config`: one login module with its options, in Java's notation.

use crate::Secret;
use std::collections::BTreeMap;
use thiserror::Error;

/// A login module's name and options.
#[derive(Clone, Debug)]
pub struct Jaas {
    /// The class.
    pub module: String,
    options: BTreeMap<String, Secret>,
}

/// Why a text is no JAAS configuration; never shows the text, which holds passwords.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "expected `MODULE FLAG option=\"value\" ...;`, where FLAG is required, requisite, sufficient or \
     optional; {0}"
)]
pub struct JaasError(&'static str);

impl Jaas {
    /// Reads one login module.
    pub fn parse(text: &str) -> Result<Jaas, JaasError> {
        let mut words = tokens(text)?.into_iter();
        let module = words.next().ok_or(JaasError("there is nothing"))?.text;
        let flag = words.next().ok_or(JaasError("the flag is missing"))?.text;
        if !["required", "requisite", "sufficient", "optional"]
            .iter()
            .any(|known| flag.eq_ignore_ascii_case(known))
        {
            return Err(JaasError("the second word is no flag"));
        }
        let mut options = BTreeMap::new();
        loop {
            let name = words.next().ok_or(JaasError("the final semicolon is missing"))?;
            if name.is_symbol(";") {
                break;
            }
            let equals = words.next().ok_or(JaasError("an option has no value"))?;
            let value = words.next().ok_or(JaasError("an option has no value"))?;
            if name.is_symbol("=") || !equals.is_symbol("=") || value.is_symbol(";") {
                return Err(JaasError("an option is not of the form name=\"value\""));
            }
            options.insert(name.text, Secret::new(value.text));
        }
        if words.next().is_some() {
            return Err(JaasError("only one login module is possible"));
        }
        Ok(Jaas { module, options })
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&Secret> {
        self.options.get(name)
    }

    /// Options whose name starts so, with the rest of the name.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, &Secret)> {
        self.options
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }
}

struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is_symbol(&self, symbol: &str) -> bool {
        !self.quoted && self.text == symbol
    }
}

fn tokens(text: &str) -> Result<Vec<Word>, JaasError> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            ';' | '=' => words.push(Word { text: c.to_string(), quoted: false }),
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next().ok_or(JaasError("a quotation mark is not closed"))? {
                        end if end == c => break,
                        '\\' => value
                            .push(chars.next().ok_or(JaasError("a quotation mark is not closed"))?),
                        other => value.push(other),
                    }
                }
                words.push(Word { text: value, quoted: true });
            }
            first => {
                let mut word = String::from(first);
                let ends = |c: &char| c.is_whitespace() || matches!(c, ';' | '=' | '"' | '\'');
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                words.push(Word { text: word, quoted: false });
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_their_quotes_and_escapes() {
        let text = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                    username=\"admin\"\n  password='a;\\'b\"=' user_alice=\"x\" user_bob = y ;";
        let jaas = Jaas::parse(text).unwrap();
        assert!(jaas.module.ends_with("PlainLoginModule"));
        assert_eq!(jaas.option("username").unwrap().reveal(), "admin");
        assert_eq!(jaas.option("password").unwrap().reveal(), "a;'b\"=");
        let users: Vec<_> = jaas.with_prefix("user_").map(|(n, v)| (n, v.reveal())).collect();
        assert_eq!(users, [("alice", "x"), ("bob", "y")]);
        assert!(!format!("{jaas:?}").contains("admin"));
    }

    #[test]
    fn what_is_not_whole_is_refused_without_being_shown() {
        for bad in [
            "",
            "M",
            "M wrong;",
            "M required",
            "M required a;",
            "M required a=\"secret",
            "M required a=;",
            "M required a=b; N required;",
            "M required =b;",
        ] {
            let error = Jaas::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{bad}");
        }
        assert!(Jaas::parse("M required;").is_ok());
    }
}
