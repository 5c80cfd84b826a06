//! A host that answers nothing at all.
//!
//! Owns [`Blackhole`]: a port on which connections neither come about nor are refused, as behind a firewall that drops
//! packets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::sys;

/// How long a connection to a port on this machine takes at most, if it comes about.
const SOON: Duration = Duration::from_millis(300);

/// More connections than any kernel lets wait for a port that lets none.
const ENOUGH: usize = 16;

/// A port of 127.0.0.1 whose queue is full for as long as this value lives.
#[derive(Debug)]
pub struct Blackhole {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Blackhole {
    /// A port, proven to answer nothing.
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of 127.0.0.1");
        sys::refuse_to_queue(&listener).expect("a socket that listens");
        let address = listener.local_addr().expect("a bound socket");
        let connect = |_| TcpStream::connect_timeout(&address, SOON).ok();
        let waiting: Vec<TcpStream> = (0..ENOUGH).map_while(connect).collect();
        assert!(waiting.len() < ENOUGH, "the queue has no end");
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }

    /// Its address, with the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Blackhole {
    fn default() -> Self {
        Self::new()
    }
}
