//! Why a part of a request was refused, as answers carry it.

use quorate_protocol::{ErrorCode, KStr};

/// An error code with a text for whoever asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The protocol's code, never `None`.
    pub error: ErrorCode,
    /// What was wrong, with names and numbers; `None` where Kafka gives a code alone, which clients
    /// put into their own words.
    pub message: Option<String>,
}

impl Refusal {
    /// With a text of its own.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { error, message: Some(message.into()) }
    }

    /// With the general text of the error.
    pub fn plain(error: ErrorCode) -> Refusal {
        Refusal::new(error, error.message())
    }

    /// Without a text.
    pub fn silent(error: ErrorCode) -> Refusal {
        Refusal { error, message: None }
    }

    /// A request that would lead to more records than one request may (KIP-455's and Kafka's limit of
    /// 10,000).
    pub fn too_many_records() -> Refusal {
        Refusal::new(
            ErrorCode::PolicyViolation,
            format!(
                "The request would change more than {} things at once; send it in parts.",
                crate::MAX_RECORDS_PER_USER_OP
            ),
        )
    }

    /// The code as it stands in an answer.
    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The text as it stands in an answer.
    pub fn text(&self) -> Option<KStr> {
        self.message.as_deref().map(KStr::from)
    }
}

/// Code and text of an outcome: zero and none if it succeeded.
pub fn code_and_text<T>(outcome: &Result<T, Refusal>) -> (i16, Option<KStr>) {
    match outcome {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code(), refusal.text()),
    }
}
