//! The hash of the metadata that our nodes show on `/status`: equal content, equal hash.

use crate::{DEADLINE, Failure, Outcome, Quorum, ensure, wait_for};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A node's metadata at one offset, in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageHash {
    /// Where the log ended that it was made of.
    pub offset: i64,
    /// In hexadecimal.
    pub hash: String,
}

impl ImageHash {
    /// Asks the node whose `quorate.http.listener` that is.
    pub fn ask(address: &str) -> Outcome<ImageHash> {
        let body = http_get(address, "/status?hash=1")?;
        let (_, hash) = body
            .split_once("\"image_hash\"")
            .ok_or_else(|| Failure(format!("{address} shows no image hash: {body}")))?;
        let field = |name: &str| -> Option<String> {
            let (_, rest) = hash.split_once(&format!("\"{name}\":"))?;
            let end = rest.find([',', '}', '\n'])?;
            Some(rest[..end].trim().trim_matches('"').to_owned())
        };
        let offset = field("offset").and_then(|text| text.parse().ok());
        match (offset, field("hash")) {
            (Some(offset), Some(hash)) => Ok(ImageHash { offset, hash }),
            _ => Err(Failure(format!("{address} shows no image hash: {body}"))),
        }
    }
}

/// One request over HTTP/1.1; the body of the answer.
pub fn http_get(address: &str, path: &str) -> Outcome<String> {
    let fault = |e: std::io::Error| Failure(format!("http://{address}{path}: {e}"));
    let to: SocketAddr = address.parse().map_err(|e| Failure(format!("{address}: {e}")))?;
    let timeout = Some(Duration::from_secs(10));
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).map_err(fault)?;
    stream
        .set_read_timeout(timeout)
        .and_then(|()| stream.set_write_timeout(timeout))
        .map_err(fault)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(fault)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(fault)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    ensure!(head.starts_with("HTTP/1.1 200"), "http://{address}{path}: {head}");
    Ok(body.to_owned())
}

impl Quorum {
    /// Waits until all running nodes of ours show the same hash, and returns it. To be called when
    /// nothing changes the metadata any more: an idle leader's no-op records do not count.
    pub fn compare_images(&mut self) -> Outcome<String> {
        let mut asked = Vec::new();
        for (id, node) in &mut self.controllers {
            if node.is_quorate() && node.is_running() {
                asked.push((*id, node.http_address().ok_or_else(|| Failure::new("no HTTP"))?));
            }
        }
        ensure!(!asked.is_empty(), "no controller of ours runs");
        wait_for("all our controllers show the same image hash", DEADLINE, || {
            let mut hashes = BTreeMap::new();
            for (id, address) in &asked {
                hashes.insert(*id, ImageHash::ask(address)?);
            }
            let same = |one: &ImageHash, other: &ImageHash| {
                one.offset != other.offset || one.hash == other.hash
            };
            for one in hashes.values() {
                // At one offset there is no excuse, and no use in waiting.
                if !hashes.values().all(|other| same(one, other)) {
                    return Ok(Err(Failure(format!("different images at one offset: {hashes:?}"))));
                }
            }
            let mut different = hashes.values().map(|it| &it.hash).collect::<Vec<_>>();
            different.sort();
            different.dedup();
            ensure!(different.len() == 1, "{hashes:?}");
            Ok(Ok(different[0].clone()))
        })?
    }
}
