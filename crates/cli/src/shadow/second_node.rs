//! The hash of the metadata at a second node: a Quorate node's `/status?hash=1`.

use quorate_base::Offset;
use quorate_shadow::Replica;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// Largest answer read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// States of ours kept for a hash that is yet to come; they share structure.
const STATES_KEPT: usize = 4096;

/// Asks now and then, and keeps our recent states to compare with.
pub struct SecondNode {
    address: String,
    asked: Option<Instant>,
    recent: VecDeque<Replica>,
    /// Offsets at which the hashes were the same.
    pub agreed: u64,
    /// The last of them.
    pub last_agreed: Option<Offset>,
    /// Offset, our hash, theirs.
    pub differing: Vec<(Offset, String, String)>,
    /// Why the last question had no use, if so.
    pub trouble: Option<String>,
}

impl SecondNode {
    /// `address`: `host:port` of its HTTP listener.
    pub fn new(address: &str) -> SecondNode {
        SecondNode {
            address: address.to_owned(),
            asked: None,
            recent: VecDeque::new(),
            agreed: 0,
            last_agreed: None,
            differing: Vec::new(),
            trouble: None,
        }
    }

    /// As given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// After each exchange with the leader.
    pub fn step(&mut self, tip: &Replica) {
        if self.recent.back().is_none_or(|it| it.end() != tip.end()) {
            self.recent.push_back(tip.clone());
            if self.recent.len() > STATES_KEPT {
                self.recent.pop_front();
            }
        }
        if self.asked.is_some_and(|at| at.elapsed() < ASK_INTERVAL) {
            return;
        }
        self.asked = Some(Instant::now());
        self.trouble = match self.ask() {
            Ok((offset, theirs)) => self.hold_against(offset, theirs),
            Err(why) => Some(why),
        };
    }

    fn hold_against(&mut self, offset: Offset, theirs: String) -> Option<String> {
        let Some(ours) = self.recent.iter().find(|it| it.end().offset == offset) else {
            return Some(format!("it told its hash at offset {offset}, which is not at hand here"));
        };
        let ours = format!("{:016x}", ours.image().content_hash());
        if ours == theirs {
            self.agreed += 1;
            self.last_agreed = Some(offset);
        } else {
            self.differing.push((offset, ours, theirs));
        }
        None
    }

    fn ask(&self) -> Result<(Offset, String), String> {
        let text = |error: std::io::Error| format!("{}: {error}", self.address);
        let address = self.address.to_socket_addrs().map_err(text)?.next();
        let address = address.ok_or_else(|| format!("{}: no address", self.address))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(text)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(text)?;
        let request = format!(
            "GET /status?hash=1 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).map_err(text)?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(text)?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let status: Value = serde_json::from_str(body)
            .map_err(|_| format!("{}: no status in the answer", self.address))?;
        let hash = &status["image_hash"];
        match (hash["offset"].as_i64(), hash["hash"].as_str()) {
            (Some(offset), Some(hash)) => Ok((offset, hash.to_owned())),
            _ => Err(format!("{}: its status has no image_hash", self.address)),
        }
    }
}
