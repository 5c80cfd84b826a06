//! A minimal HTTP client, which shows exactly what a server answered.
//!
//! Owns [`fetch`] and [`head`]. It follows no redirect, decodes nothing, and uses each connection once.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// Whether the body is as long as the head said.
    pub complete: bool,
}

impl Fetched {
    /// The value of the first header called `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Gets `url`, which is `http://HOST:PORT/PATH`.
///
/// # Errors
/// When the connection fails, is reset, or stays silent for ten seconds.
pub fn fetch(url: &str) -> io::Result<Fetched> {
    fetch_with(url, &[])
}

/// Gets `url` with further headers.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with(url: &str, headers: &[(&str, &str)]) -> io::Result<Fetched> {
    exchange("GET", url, headers)
}

/// Asks for the head of `url` alone. The answer is as complete as one can be without its body: `complete` is false
/// where a length is announced.
///
/// # Errors
/// As [`fetch`].
pub fn head(url: &str) -> io::Result<Fetched> {
    exchange("HEAD", url, &[])
}

fn exchange(method: &str, url: &str, headers: &[(&str, &str)]) -> io::Result<Fetched> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| io::Error::other(format!("{url} is not http")))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other(format!("{url}: no HTTP answer")))
}

fn parse(answer: &[u8]) -> Option<Fetched> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..split]).ok()?;
    let body = answer[split + 4..].to_vec();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok());
    let complete = length.is_none_or(|length: usize| length == body.len());
    Some(Fetched {
        status,
        headers,
        body,
        complete,
    })
}
