use quorate_protocol::{ApiKey, ErrorCode, WireError};
use std::time::Duration;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// As given.
        address: String,
        /// From the operating system.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("connection to {address} failed: {source}")]
    Io {
        /// As given.
        address: String,
        /// From the operating system.
        source: std::io::Error,
    },
    /// The server closed the connection before it answered.
    #[error("{address} closed the connection before it answered")]
    Closed {
        /// As given.
        address: String,
    },
    /// No answer in time.
    #[error("{address} did not answer {api:?} within {} ms", timeout.as_millis())]
    Timeout {
        /// As given.
        address: String,
        /// What was asked.
        api: ApiKey,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The bytes are not what the protocol says.
    #[error("{api:?} version {version}: {source}")]
    Wire {
        /// What was asked.
        api: ApiKey,
        /// At which version.
        version: i16,
        /// What is wrong with the bytes.
        source: WireError,
    },
    /// An answer with another correlation id than the request's.
    #[error("{address} answered request {got}, not {expected}")]
    Correlation {
        /// As given.
        address: String,
        /// Id of the oldest request without an answer.
        expected: i32,
        /// Id in the answer.
        got: i32,
    },
    /// A frame longer than any answer can be.
    #[error("{address} announces a frame of {length} bytes")]
    FrameLength {
        /// As given.
        address: String,
        /// As announced.
        length: i32,
    },
    /// Client and server have no version of the API in common.
    #[error("{address} does not serve a version of {api:?} that this client speaks")]
    Unsupported {
        /// As given.
        address: String,
        /// What was to be asked.
        api: ApiKey,
    },
    /// The answer is well-formed and says no.
    #[error("{what}: {}{}", error_name(*error_code), message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Refused {
        /// What was asked for, with names and ids.
        what: String,
        /// Kafka's code.
        error_code: i16,
        /// The server's text, if any.
        message: Option<String>,
    },
    /// The answer lacks what was asked for.
    #[error("{0}")]
    Unexpected(String),
}

fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |e| e.name().to_owned())
}
