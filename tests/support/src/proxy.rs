//! Proxies between the program and its upstreams.
//!
//! Owns [`Proxy`]: an HTTP proxy (whole URLs and `CONNECT`) or a SOCKS5 server, which knows the addresses of names that
//! no resolver has, and records what it was asked for.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A running proxy on 127.0.0.1. It ends with the process of the test.
pub struct Proxy {
    address: SocketAddr,
    scheme: &'static str,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    names: Mutex<HashMap<String, SocketAddr>>,
    asked: Mutex<Vec<Asked>>,
}

/// What a proxy was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Host and port as the client named them.
    pub target: String,
    /// User name and password, as far as the client showed any: of HTTP the header, of SOCKS `user:password`.
    pub login: Option<String>,
}

impl Proxy {
    /// An HTTP proxy.
    pub fn http() -> Self {
        Self::start("http", speak_http)
    }

    /// A SOCKS5 server. It takes any user name and password, and insists on none.
    pub fn socks() -> Self {
        Self::start("socks5h", speak_socks)
    }

    fn start(scheme: &'static str, speak: fn(TcpStream, &Known) -> io::Result<()>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket");
        let known = Arc::new(Known::default());
        let shared = Arc::clone(&known);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // An error is the client's or the server's going away.
                thread::spawn(move || drop(speak(stream, &shared)));
            }
        });
        Self { address, scheme, known }
    }

    /// Its URL, for the key `proxy`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// As [`Proxy::url`], with a user name and a password.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@{}", self.scheme, self.address)
    }

    /// From now on `name` (with a port, as in `archive.example:80`) is at the address of the server `url`.
    pub fn knows(&self, name: &str, url: &str) {
        let address = url.trim_start_matches("http://").trim_start_matches("https://");
        let address = address.trim_end_matches('/').parse().expect("the URL of a test server");
        lock(&self.known.names).insert(name.to_owned(), address);
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.known.asked).clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.url())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Notes the wish, and connects to what it names.
    fn connect(&self, target: &str, login: Option<String>) -> io::Result<TcpStream> {
        lock(&self.asked).push(Asked {
            target: target.to_owned(),
            login,
        });
        let known = lock(&self.names).get(target).copied();
        match known {
            Some(address) => TcpStream::connect(address),
            None => TcpStream::connect(target),
        }
    }
}

/// Passes bytes on in both directions until one side ends.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let there = thread::spawn(move || {
        // Either end's going away ends the other.
        drop(io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    let (mut from_server, mut to_client) = (server, client);
    let back = io::copy(&mut from_server, &mut to_client);
    drop(to_client.shutdown(Shutdown::Both));
    drop(from_server.shutdown(Shutdown::Both));
    drop(there.join());
    back.map(drop)
}

fn speak_http(mut client: TcpStream, known: &Known) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let (mut headers, mut login) = (String::new(), None);
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "proxy-authorization" => login = Some(value.trim().to_owned()),
            "connection" | "proxy-connection" => {}
            _ => headers.extend([name, ":", value, "\r\n"]),
        }
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == "CONNECT" {
        let Ok(server) = known.connect(target, login) else {
            return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        };
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        return join(client, server);
    }
    let rest = target.strip_prefix("http://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let target = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let Ok(mut server) = known.connect(&target, login) else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    write!(
        server,
        "{method} /{path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
    )?;
    join(client, server)
}

fn speak_socks(mut client: TcpStream, known: &Known) -> io::Result<()> {
    let bytes = |stream: &mut TcpStream, length: u8| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let counted = |stream: &mut TcpStream| -> io::Result<String> {
        let length = bytes(stream, 1)?[0];
        Ok(String::from_utf8_lossy(&bytes(stream, length)?).into_owned())
    };
    let offered = bytes(&mut client, 2)?[1];
    let methods = bytes(&mut client, offered)?;
    let mut login = None;
    if methods.contains(&2) {
        client.write_all(&[5, 2])?;
        bytes(&mut client, 1)?;
        let (user, password) = (counted(&mut client)?, counted(&mut client)?);
        login = Some(format!("{user}:{password}"));
        client.write_all(&[1, 0])?;
    } else {
        client.write_all(&[5, 0])?;
    }
    let kind = bytes(&mut client, 4)?[3];
    let host = match kind {
        1 => {
            let address = bytes(&mut client, 4)?;
            Ipv4Addr::new(address[0], address[1], address[2], address[3]).to_string()
        }
        3 => counted(&mut client)?,
        _ => {
            let address: [u8; 16] = bytes(&mut client, 16)?.try_into().expect("sixteen bytes");
            format!("[{}]", Ipv6Addr::from(address))
        }
    };
    let port = bytes(&mut client, 2)?;
    let target = format!("{host}:{}", u16::from_be_bytes([port[0], port[1]]));
    match known.connect(&target, login) {
        Ok(server) => {
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
            join(client, server)
        }
        Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
    }
}
