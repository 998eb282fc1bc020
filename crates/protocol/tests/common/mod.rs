//! The vectors that Kafka's own serialisers made.

use bytes::Bytes;
use quorate_protocol::catalogue::{self, MessageInfo};
use std::io::Read as _;

/// One message as Kafka wrote it.
pub struct Vector {
    pub info: &'static MessageInfo,
    pub version: i16,
    pub bytes: Bytes,
}

/// All 3300, in the file's order.
pub fn vectors() -> Vec<Vector> {
    let packed = include_bytes!("../fixtures/codec-vectors.txt.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("readable fixture");
    text.lines().map(vector).collect()
}

fn vector(line: &str) -> Vector {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, version, hex] = words[..] else { panic!("bad line {line:?}") };
    Vector {
        info: catalogue::find(name).unwrap_or_else(|| panic!("{name} is not carried")),
        version: version.parse().expect("a version"),
        bytes: unhex(hex),
    }
}

fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks_exact(2);
    digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}
