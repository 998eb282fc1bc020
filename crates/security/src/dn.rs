//! Distinguished names as text: RFC 2253, as Java's `X500Principal.getName()` writes them. This text
//! is the name of an SSL principal, and what the rules of `ssl.principal.mapping.rules` are matched
//! against, so each blank counts.

use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

/// The keywords that RFC 2253 defines; all others are written as numbers.
const KEYWORDS: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The subject of a certificate; `None` if the certificate cannot be read.
pub fn subject_of(certificate_der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    Some(rfc2253(certificate.subject()))
}

/// When a certificate ends, in seconds since the Unix epoch.
pub fn not_after_seconds(certificate_der: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The most specific part first, as RFC 2253 wants it.
fn rfc2253(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let keyword = KEYWORDS.iter().find(|(number, _)| *number == oid).map(|(_, word)| *word);
    // A type without a keyword is written by number, and its value as the hex of its encoding.
    match (keyword, attribute.as_str()) {
        (Some(keyword), Ok(text)) => format!("{keyword}={}", escaped(text)),
        (keyword, _) => format!("{}=#{}", keyword.unwrap_or(&oid), encoded(attribute)),
    }
}

fn encoded(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let mut bytes = vec![u8::try_from(value.tag().0).unwrap_or(0x1f)];
    let length = value.data.len();
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let digits: Vec<u8> =
            length.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
        bytes.push(0x80 | digits.len() as u8);
        bytes.extend(digits);
    }
    bytes.extend(value.data);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (c == '#' && index == 0)
            || (c == ' ' && (index == 0 || index == last));
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    #[test]
    fn the_most_specific_part_comes_first_and_specials_are_escaped() {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "CH");
        name.push(DnType::OrganizationName, "Ex, Inc");
        name.push(DnType::CommonName, " broker 1");
        name.push(DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]), "a@b");
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let subject = subject_of(certificate.der()).unwrap();
        assert_eq!(subject, "1.2.840.113549.1.9.1=#0c03614062,CN=\\ broker 1,O=Ex\\, Inc,C=CH");
        assert!(not_after_seconds(certificate.der()).unwrap() > 0);
        assert_eq!(subject_of(b"no certificate"), None);
    }
}
