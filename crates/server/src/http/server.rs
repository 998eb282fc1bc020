//! Sockets of the HTTP listener.

use super::board::Board;
use super::request::{HEAD_MAX_BYTES, HeadError, Request, parse_head};
use super::{Answer, answer};
use crate::config::address::Listener;
use crate::net::accept::{self, Bound};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Limits of the listener.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at once; more are closed as they come.
    pub connections: usize,
    /// A request must be whole this long after the connection opened or its last answer.
    pub head: Duration,
    /// An answer must be taken within this time.
    pub write: Duration,
    /// Requests on one connection.
    pub requests: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 64,
            // Longer than the usual pause between two scrapes would only keep sockets open.
            head: Duration::from_secs(20),
            write: Duration::from_secs(10),
            requests: 1000,
        }
    }
}

/// Opens the socket.
pub async fn bind(listener: &Listener) -> io::Result<Bound> {
    accept::bind(listener, 64).await
}

/// Serves until its task is dropped.
pub async fn serve(bound: Bound, board: Arc<Board>, limits: HttpLimits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let stream = match bound.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept on the HTTP listener; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!("too many connections to the HTTP listener");
            continue;
        };
        let board = board.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &board, limits).await {
                tracing::debug!(%error, "a connection to the HTTP listener ended");
            }
        });
    }
}

async fn converse(mut stream: TcpStream, board: &Arc<Board>, limits: HttpLimits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    for served in 1..=limits.requests {
        let reading = read_request(&mut stream, &mut unread);
        let request = match tokio::time::timeout(limits.head, reading).await {
            Ok(Ok(Some(Ok(request)))) => request,
            Ok(Ok(Some(Err(refused)))) => {
                refuse(&mut stream, refused, limits).await?;
                return Ok(());
            }
            // Gone, or silent for too long: nobody waits for an answer.
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        };
        let answer = answer(board, &request).await;
        let keep = request.keep_alive && served < limits.requests;
        write(&mut stream, &answer, keep, limits).await?;
        if !keep {
            return Ok(());
        }
    }
    Ok(())
}

/// The next request; nothing if the client went away between two.
async fn read_request(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
) -> io::Result<Option<Result<Request, HeadError>>> {
    loop {
        match parse_head(unread) {
            Ok(Some((request, used))) => {
                unread.drain(..used);
                return Ok(Some(Ok(request)));
            }
            Ok(None) => {}
            Err(refused) => return Ok(Some(Err(refused))),
        }
        let mut chunk = [0; 1024];
        // The parser refuses before the head grows beyond its limit.
        let room = chunk.len().min(HEAD_MAX_BYTES.saturating_sub(unread.len()).max(1));
        let count = stream.read(&mut chunk[..room]).await?;
        if count == 0 {
            return Ok(None);
        }
        unread.extend_from_slice(&chunk[..count]);
    }
}

async fn refuse(stream: &mut TcpStream, why: HeadError, limits: HttpLimits) -> io::Result<()> {
    let body = format!("{}\n", why.text());
    let answer = Answer { status: why.status(), content_type: "text/plain; charset=utf-8", body };
    write(stream, &answer, false, limits).await?;
    // Closing with bytes unread would reset the connection, and the client might never see the
    // answer: a little is read and thrown away.
    stream.shutdown().await?;
    let drain = async {
        let mut scratch = [0; 4096];
        for _ in 0..16 {
            if stream.read(&mut scratch).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(1), drain).await.unwrap_or(Ok(()))
}

async fn write(
    stream: &mut TcpStream,
    answer: &Answer,
    keep: bool,
    limits: HttpLimits,
) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    let allow = if answer.status == 405 { "Allow: GET\r\n" } else { "" };
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len(),
    );
    let writing = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(answer.body.as_bytes()).await?;
        stream.flush().await
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken");
    tokio::time::timeout(limits.write, writing).await.map_err(late)?
}
