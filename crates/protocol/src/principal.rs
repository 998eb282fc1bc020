use crate::KStr;
use crate::messages::DefaultPrincipalData;
use crate::wire::{Message, Reader, WireError, Writer};
use bytes::Bytes;

/// Who asks: the principal of a request, as it travels inside an Envelope.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Principal {
    /// `User`, unless a plug-in says otherwise.
    pub kind: KStr,
    /// The name.
    pub name: KStr,
    /// Whether it authenticated with a delegation token.
    pub token_authenticated: bool,
}

impl Principal {
    /// `User:ANONYMOUS`, everybody on a listener without authentication.
    pub fn anonymous() -> Principal {
        Principal {
            kind: KStr::from_static("User"),
            name: KStr::from_static("ANONYMOUS"),
            token_authenticated: false,
        }
    }

    /// Reads what Kafka's default principal builder writes: an int16 version, then the data.
    pub fn decode(bytes: Bytes) -> Result<Principal, WireError> {
        let mut r = Reader::new(bytes);
        let version = r.i16()?;
        let data = DefaultPrincipalData::decode(&mut r, version)?;
        r.finish()?;
        Ok(Principal {
            kind: data.r#type,
            name: data.name,
            token_authenticated: data.token_authenticated,
        })
    }

    /// Writes what [`Principal::decode`] reads.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let version = *DefaultPrincipalData::VERSIONS.end();
        let mut w = Writer::new();
        w.i16(version);
        let data = DefaultPrincipalData {
            r#type: self.kind.clone(),
            name: self.name.clone(),
            token_authenticated: self.token_authenticated,
            ..Default::default()
        };
        data.encode(&mut w, version)?;
        Ok(w.into_bytes())
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
