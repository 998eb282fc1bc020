//! `ssl.principal.mapping.rules` (KIP-371): from a certificate's distinguished name to a name.

use regex_lite::Regex;
use thiserror::Error;

/// Rules, tried in order; the first that matches the whole name decides.
#[derive(Clone, Debug)]
pub struct PrincipalMapping {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// The name as it is.
    Default,
    /// `RULE:pattern/replacement/[L|U]`.
    Replace { pattern: Regex, replacement: String, case: Case },
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Keep,
    Lower,
    Upper,
}

/// A rule that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MappingError {
    /// Neither `DEFAULT` nor `RULE:…`.
    #[error("expected DEFAULT or RULE:pattern/replacement/[L|U], separated by commas, at: {0}")]
    Form(String),
    /// The pattern is no regular expression that is known here.
    #[error("the pattern {pattern:?} cannot be used: {why}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong.
        why: String,
    },
}

impl Default for PrincipalMapping {
    fn default() -> PrincipalMapping {
        PrincipalMapping { rules: vec![Rule::Default] }
    }
}

impl PrincipalMapping {
    /// Reads the setting. Commas stand within patterns too, so a rule ends only where its third slash
    /// (and the letter after it) does.
    pub fn parse(text: &str) -> Result<PrincipalMapping, MappingError> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, after) = next_rule(rest)?;
            rules.push(rule);
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if after.is_empty() => after,
                None => return Err(MappingError::Form(after.to_owned())),
            };
        }
        if rules.is_empty() {
            return Ok(PrincipalMapping::default());
        }
        Ok(PrincipalMapping { rules })
    }

    /// The name of the principal; `None` if no rule matches, and then the peer is not let in.
    pub fn name(&self, distinguished_name: &str) -> Option<String> {
        self.rules.iter().find_map(|rule| rule.apply(distinguished_name))
    }
}

/// `(pattern, replacement, what follows)`: slashes within them are escaped by a backslash.
fn next_rule(text: &str) -> Result<(Rule, &str), MappingError> {
    let form = || MappingError::Form(text.to_owned());
    if let Some(after) = text.strip_prefix("DEFAULT") {
        return Ok((Rule::Default, after));
    }
    let body = text.strip_prefix("RULE:").ok_or_else(form)?;
    let (pattern, body) = until_slash(body).ok_or_else(form)?;
    let (replacement, body) = until_slash(body).ok_or_else(form)?;
    let (case, after) = match body.chars().next() {
        Some('L') => (Case::Lower, &body[1..]),
        Some('U') => (Case::Upper, &body[1..]),
        _ => (Case::Keep, body),
    };
    // The whole name must match, as with Java's `matches`.
    let whole = Regex::new(&format!("^(?:{pattern})$"));
    let pattern = whole.map_err(|error| MappingError::Pattern {
        pattern: pattern.to_owned(),
        why: error.to_string(),
    })?;
    let replacement = replacement.replace("\\/", "/");
    Ok((Rule::Replace { pattern, replacement, case }, after))
}

fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '/' if !escaped => return Some((&text[..index], &text[index + 1..])),
            _ => escaped = false,
        }
    }
    None
}

impl Rule {
    fn apply(&self, name: &str) -> Option<String> {
        match self {
            Rule::Default => Some(name.to_owned()),
            Rule::Replace { pattern, replacement, case } => {
                let found = pattern.captures(name)?;
                let mut mapped = String::new();
                expand(replacement, &found, &mut mapped);
                Some(match case {
                    Case::Keep => mapped,
                    Case::Lower => mapped.to_lowercase(),
                    Case::Upper => mapped.to_uppercase(),
                })
            }
        }
    }
}

/// Java's replacement syntax: `$1` takes as many digits as there are groups, and a backslash takes
/// the next letter as it is.
fn expand(replacement: &str, found: &regex_lite::Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '$' => {
                let mut group = 0;
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let next = group * 10 + digit as usize;
                    if group != 0 && next >= found.len() {
                        break;
                    }
                    group = next;
                    chars.next();
                }
                out.push_str(found.get(group).map_or("", |m| m.as_str()));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rules: &str, dn: &str) -> Option<String> {
        PrincipalMapping::parse(rules).unwrap().name(dn)
    }

    #[test]
    fn rules_of_kafkas_documentation() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, \
                     RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L, DEFAULT";
        let map = |dn| name(rules, dn).unwrap();
        assert_eq!(map("CN=Duke,OU=ServiceUsers,O=Org,C=US"), "Duke");
        assert_eq!(map("CN=Duke,OU=SME,O=mycp,L=Fulton,ST=MD,C=US"), "duke@sme");
        assert_eq!(map("cn=JavaDuke,ou=JavaSoft"), "javaduke");
        assert_eq!(map("OU=JavaSoft,O=Sun"), "OU=JavaSoft,O=Sun");
    }

    #[test]
    fn a_name_that_no_rule_matches_is_nobody() {
        assert_eq!(name("RULE:^CN=(.*)$/$1/", "OU=x"), None);
        assert_eq!(name("", "CN=x"), Some("CN=x".to_owned()));
        assert_eq!(name("RULE:CN=(a)\\/(b)/$2\\/$1/U", "CN=a/b"), Some("B/A".to_owned()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["nonsense", "RULE:abc", "RULE:a/b", "DEFAULT/L", "RULE:(/x/", "DEFAULT DEFAULT"]
        {
            assert!(PrincipalMapping::parse(bad).is_err(), "{bad}");
        }
    }
}
