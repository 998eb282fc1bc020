//! Length-prefixed frames: reading with memory that grows only as bytes arrive, writing in one go.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read ahead of the frame at hand, at most about this many. Also the first step by which the
/// buffer grows.
const READ_AHEAD: usize = 16 * 1024;

/// Why no frame comes.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The other side closed, between frames or inside one.
    #[error("closed by the other side{}", if *.inside { " inside a frame" } else { "" })]
    Closed {
        /// True if a frame had begun.
        inside: bool,
    },
    /// The length prefix is negative or beyond the limit.
    #[error("a frame of {size} bytes; allowed are 0 to {limit} (socket.request.max.bytes)")]
    Size {
        /// As received.
        size: i32,
        /// The limit.
        limit: usize,
    },
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Cuts a stream of bytes into frames.
pub struct FrameReader {
    buffer: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// Frames of more than `limit` bytes are refused by their prefix.
    pub fn new(limit: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), limit }
    }

    /// The next frame without its prefix. Safe to drop and call again: nothing read is lost.
    pub async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            if self.read_some(from).await? == 0 {
                return Err(FrameError::Closed { inside: !self.buffer.is_empty() });
            }
        }
    }

    /// Reads ahead while something else is being waited for; returns only when the other side has
    /// closed or failed. A client that sends on and on is left to wait in its own socket buffer.
    pub async fn watch_for_close(&mut self, from: &mut (impl AsyncRead + Unpin)) -> FrameError {
        loop {
            if self.buffer.len() >= READ_AHEAD {
                std::future::pending::<()>().await;
            }
            match self.read_some(from).await {
                Ok(0) => return FrameError::Closed { inside: false },
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }

    /// Another limit for the frames from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether bytes beyond the last frame have arrived.
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(&prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let size = i32::from_be_bytes(prefix);
        let wanted = usize::try_from(size)
            .ok()
            .filter(|&size| size <= self.limit)
            .ok_or(FrameError::Size { size, limit: self.limit })?;
        if self.buffer.len() - prefix.len() < wanted {
            return Ok(None);
        }
        self.buffer.advance(prefix.len());
        Ok(Some(self.buffer.split_to(wanted).freeze()))
    }

    /// Doubling from what has arrived keeps memory within twice the bytes received, whatever the
    /// prefix promises.
    async fn read_some(&mut self, from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < READ_AHEAD / 4 {
            self.buffer.reserve(self.buffer.len().max(READ_AHEAD));
        }
        from.read_buf(&mut self.buffer).await
    }
}

/// Writes a frame: prefix and chunks, without copying large ones.
pub async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    chunks: Vec<Bytes>,
) -> std::io::Result<()> {
    let size: usize = chunks.iter().map(Bytes::len).sum();
    let size = i32::try_from(size).map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::InvalidData, "an answer above 2 GiB")
    })?;
    let mut all = Chunks(VecDeque::with_capacity(chunks.len() + 1));
    all.0.push_back(Bytes::copy_from_slice(&size.to_be_bytes()));
    all.0.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
    to.write_all_buf(&mut all).await?;
    to.flush().await
}

/// Several chunks as one buffer; never holds an empty one.
struct Chunks(VecDeque<Bytes>);

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, chunk) in out.iter_mut().zip(&self.0) {
            *slot = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let front = self.0.front_mut().expect("advances within what remains");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        run(async {
            let mut wire = Vec::new();
            for size in [0usize, 1, 5, 70_000] {
                let chunks =
                    vec![Bytes::from(vec![7; size]), Bytes::new(), Bytes::from_static(b"end")];
                write_frame(&mut wire, chunks).await.unwrap();
            }
            for step in [1, 3, 4096] {
                let (mut near, far) = tokio::io::duplex(step);
                let sent = wire.clone();
                let writer = tokio::spawn(async move { near.write_all(&sent).await });
                let (mut reader, mut far) = (FrameReader::new(1 << 20), far);
                for size in [0usize, 1, 5, 70_000] {
                    let frame = reader.next(&mut far).await.unwrap();
                    assert_eq!((frame.len(), &frame[size..]), (size + 3, &b"end"[..]));
                }
                writer.await.unwrap().unwrap();
                assert!(matches!(
                    reader.next(&mut far).await,
                    Err(FrameError::Closed { inside: false })
                ));
            }
        });
    }

    #[test]
    fn impossible_sizes_are_refused_by_their_prefix() {
        run(async {
            for size in [-1i32, i32::MIN, 101, i32::MAX] {
                let bytes = size.to_be_bytes();
                let mut reader = FrameReader::new(100);
                let error = reader.next(&mut &bytes[..]).await.unwrap_err();
                assert!(matches!(error, FrameError::Size { .. }), "{error}");
            }
        });
    }

    #[test]
    fn a_promised_giant_costs_no_more_than_its_bytes() {
        run(async {
            let mut bytes = 100_000_000i32.to_be_bytes().to_vec();
            bytes.extend([0; 1000]);
            let mut reader = FrameReader::new(100 << 20);
            let error = reader.next(&mut &bytes[..]).await.unwrap_err();
            assert!(matches!(error, FrameError::Closed { inside: true }));
            assert!(reader.buffer.capacity() <= 2 * READ_AHEAD, "{}", reader.buffer.capacity());
        });
    }
}
