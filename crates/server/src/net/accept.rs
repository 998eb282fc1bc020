//! Listening sockets.

use super::{Edge, connection};
use crate::config::address::Listener;
use quorate_metadata::Str;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// A listener whose socket is open.
pub struct Bound {
    /// As configured.
    pub listener: Listener,
    /// Where it really is, which tells the port if 0 was asked for.
    pub address: SocketAddr,
    socket: TcpListener,
}

impl Bound {
    /// The next connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept().await
    }
}

/// Opens the socket of a listener.
pub async fn bind(listener: &Listener, backlog: i32) -> io::Result<Bound> {
    let backlog = u32::try_from(backlog).unwrap_or(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses(listener).await? {
        match open(address, backlog) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                return Ok(Bound { listener: listener.clone(), address, socket });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// All interfaces: IPv6 with IPv4 in it where there is IPv6, else IPv4.
async fn addresses(listener: &Listener) -> io::Result<Vec<SocketAddr>> {
    let any_v4 = IpAddr::from([0, 0, 0, 0]);
    if listener.host.is_empty() {
        let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        return Ok([any_v6, any_v4].map(|ip| SocketAddr::new(ip, listener.port)).to_vec());
    }
    Ok(lookup_host((listener.host.as_str(), listener.port)).await?.collect())
}

fn open(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Accepts until its task is dropped. Errors of the moment, such as too many open files, are waited
/// out: a controller that stops listening helps nobody.
pub async fn accept(edge: Arc<Edge>, bound: Bound) {
    let name = Str::from(bound.listener.name.as_str());
    loop {
        match bound.socket.accept().await {
            Ok((stream, from)) => admit(&edge, stream, from, name.clone()),
            Err(error) => {
                edge.quiet.warn(format_args!("cannot accept on {name}: {error}; trying again"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(edge: &Arc<Edge>, stream: TcpStream, from: SocketAddr, listener: Str) {
    let admission = match edge.admit(from.ip().to_canonical(), &listener) {
        Ok(admission) => admission,
        Err(limit) => {
            edge.telemetry.connections.refused.increment(limit);
            edge.quiet.warn(format_args!("refused a connection from {from}: {limit} is reached"));
            return;
        }
    };
    // Without it small answers wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "TCP_NODELAY");
    }
    let edge = edge.clone();
    tokio::spawn(async move {
        let _admission = admission;
        connection::serve(edge, stream, from, listener).await;
    });
}
