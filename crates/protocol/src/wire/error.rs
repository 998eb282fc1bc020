/// Why bytes are no message, or a message has no bytes at the version asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes end early.
    #[error("truncated: {needed} more bytes needed, {remaining} left")]
    Truncated {
        /// Bytes the next field needs.
        needed: usize,
        /// Bytes there are.
        remaining: usize,
    },
    /// A length that cannot be: negative, or more than the format or the bytes received allow.
    #[error("impossible length {0}")]
    BadLength(i64),
    /// A varint with more bytes or bits than its type has.
    #[error("malformed varint")]
    BadVarint,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    BadUtf8,
    /// The message does not exist at this version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// On encoding: a field is set that this version cannot carry and that must not be dropped.
    #[error("{of}.{field} is set, but version {version} cannot carry it")]
    UnsupportedField {
        /// Kafka's name of the struct.
        of: &'static str,
        /// Kafka's name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A null where this version does not allow one.
    #[error("null where none is allowed")]
    NullNotAllowed,
    /// A tag that this schema knows, at a version that does not have it.
    #[error("tag {tag} is not valid at version {version}")]
    TagNotValid {
        /// The tag.
        tag: u32,
        /// The version of the message.
        version: i16,
    },
    /// On encoding: the unknown tags contain a tag that the schema knows, or tags at a version without any.
    #[error("tag {tag} cannot be written as an unknown tag")]
    TagConflict {
        /// The tag.
        tag: u32,
    },
    /// A tagged field is shorter than its size says.
    #[error("tagged field with {0} bytes too many")]
    TagNotDrained(usize),
    /// Bytes after the end of the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// A metadata record type that does not exist.
    #[error("unknown metadata record type {0}")]
    UnknownRecord(u32),
    /// A metadata record in an unknown frame.
    #[error("unknown metadata record frame version {0}")]
    UnknownFrame(u32),
}

/// The error of a set field that `version` cannot carry.
#[cold]
pub fn unsupported(of: &'static str, field: &'static str, version: i16) -> WireError {
    WireError::UnsupportedField { of, field, version }
}
