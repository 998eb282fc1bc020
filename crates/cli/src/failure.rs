//! How a command fails: a text for the user and an exit code.

use quorate_server::config::ConfigError;
use quorate_storage::StorageError;
use std::fmt;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// For the user; says what to do next.
    pub message: String,
    /// 1 failed, 2 wrong usage or configuration, 3 refused to protect data.
    pub exit_code: i32,
}

impl Failure {
    /// The operation failed.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), exit_code: 1 }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), exit_code: 2 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::usage(error.to_string())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure { message: error.to_string(), exit_code: error.exit_code() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::failed(error.to_string())
    }
}
