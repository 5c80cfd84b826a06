//! Tests of requests and answers against a server of a few lines.
//!
//! Owns that server: each connection is answered with the next of a list of byte strings.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::model::Timestamp;
use crate::upstream::fetch_capped;

/// Serves `answers`, one for each connection, and gives the requests it read.
async fn serve(answers: Vec<Vec<u8>>) -> (BaseUrl, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.expect("reads");
            sender
                .send(String::from_utf8_lossy(&request[..n]).into_owned())
                .expect("the test listens");
            stream.write_all(&answer).await.expect("writes");
            streams.push(stream);
        }
        // Keeps the connections open, so that silence is not mistaken for an end.
        std::future::pending::<()>().await;
        drop(streams);
    });
    let url = format!("http://bob:secret@{address}/debian").parse().expect("a URL");
    (url, requests)
}

fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into()
}

fn status(line: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n").into()
}

fn client() -> Client {
    let options = ClientOptions {
        stall: Duration::from_millis(300),
        ..ClientOptions::new(2)
    };
    Client::new(&options).expect("sets up")
}

async fn get(base: &BaseUrl, known: Option<&Validators>) -> Result<Answer, UpstreamError> {
    let ask = known.map_or(Ask::Whole, Ask::Changed);
    client()
        .get(base, &"dists/x/Release".parse().expect("valid"), ask)
        .await
}

#[tokio::test]
async fn a_file_comes_with_its_validators() {
    let headers = "etag: \"a\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let (base, mut requests) = serve(vec![ok(headers, "hello")]).await;
    let Ok(Answer::Body(body)) = get(&base, None).await else {
        panic!("a body")
    };
    assert_eq!(body.length(), Some(5));
    assert_eq!(body.last_modified(), Some(Timestamp::from_unix(784_111_777)));
    assert_eq!(body.validators().etag.as_deref(), Some("\"a\""));
    assert_eq!(fetch_capped(body, 5).await.expect("fits"), b"hello");
    let request = requests.recv().await.expect("one request").to_lowercase();
    assert!(request.starts_with("get /debian/dists/x/release http/1.1"), "{request}");
    assert!(
        request.contains("authorization: basic ym9iOnNly3jlda==".to_lowercase().as_str()),
        "{request}"
    );
}

#[tokio::test]
async fn only_another_version_is_asked_for() {
    let (base, mut requests) = serve(vec![status("304 Not Modified", "")]).await;
    let known = Validators {
        etag: Some("\"a\"".into()),
        last_modified: Some("then".into()),
    };
    assert!(matches!(get(&base, Some(&known)).await, Ok(Answer::Unchanged)));
    let request = requests.recv().await.expect("one request").to_lowercase();
    assert!(
        request.contains("if-none-match: \"a\"") && request.contains("if-modified-since: then"),
        "{request}"
    );
}

#[tokio::test]
async fn absence_is_an_answer_and_other_statuses_are_errors() {
    for (line, missing) in [
        ("404 Not Found", true),
        ("410 Gone", true),
        ("403 Forbidden", false),
        ("500 Oh", false),
    ] {
        let (base, _requests) = serve(vec![status(line, "")]).await;
        match get(&base, None).await {
            Ok(Answer::Missing) => assert!(missing, "{line}"),
            Err(UpstreamError::Status { .. }) => assert!(!missing, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn redirects_are_followed_with_credentials_for_their_host_only() {
    let (elsewhere, mut there) = serve(vec![ok("", "moved")]).await;
    let to = elsewhere.with_credentials();
    let location = format!(
        "location: http://eve:stolen@127.0.0.1:{}/x\r\n",
        to.port().expect("has one")
    );
    let (base, _requests) = serve(vec![status("302 Found", &location)]).await;
    assert!(matches!(get(&base, None).await, Ok(Answer::Body(_))));
    let request = there.recv().await.expect("one request").to_lowercase();
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn redirects_within_the_host_keep_credentials() {
    let (base, mut requests) = serve(vec![
        status("302 Found", "location: /there?token=hidden\r\n"),
        ok("", "x"),
    ])
    .await;
    let Ok(Answer::Body(body)) = get(&base, None).await else {
        panic!("a body")
    };
    assert!(!body.url().to_string().contains("hidden"));
    requests.recv().await.expect("the first request");
    assert!(
        requests
            .recv()
            .await
            .expect("the second")
            .to_lowercase()
            .contains("authorization")
    );
}

#[tokio::test]
async fn redirects_elsewhere_are_refused() {
    for location in ["file:///etc/passwd", "ftp://h/x", "data:,x", "/a\tb"] {
        let (base, _requests) = serve(vec![status("302 Found", &format!("location: {location}\r\n"))]).await;
        assert!(
            matches!(get(&base, None).await, Err(UpstreamError::Redirect { .. })),
            "{location}"
        );
    }
    let round = vec![status("302 Found", "location: /debian/dists/x/Release\r\n"); 6];
    let (base, _requests) = serve(round).await;
    assert!(matches!(get(&base, None).await, Err(UpstreamError::Redirect { .. })));
}

#[tokio::test]
async fn silence_and_excess_end() {
    let (base, _requests) = serve(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec()]).await;
    let Ok(Answer::Body(body)) = get(&base, None).await else {
        panic!("a body")
    };
    assert!(matches!(
        fetch_capped(body, 9).await,
        Err(UpstreamError::Stalled { .. })
    ));

    let (base, _requests) = serve(vec![ok("", "too long")]).await;
    let Ok(Answer::Body(body)) = get(&base, None).await else {
        panic!("a body")
    };
    assert!(matches!(
        fetch_capped(body, 7).await,
        Err(UpstreamError::TooLong { cap: 7, .. })
    ));

    let (base, _requests) = serve(vec![ok("content-encoding: gzip\r\n", "x")]).await;
    assert!(matches!(get(&base, None).await, Err(UpstreamError::Encoded { .. })));
}

#[tokio::test]
async fn a_crawl_is_too_slow() {
    let (base, _requests) = serve(vec![ok("", "slow")]).await;
    let options = ClientOptions {
        window: Duration::ZERO,
        least: 1000,
        ..ClientOptions::new(1)
    };
    let client = Client::new(&options).expect("sets up");
    let path = "x".parse().expect("valid");
    let Ok(Answer::Body(body)) = client.get(&base, &path, Ask::Whole).await else {
        panic!("a body")
    };
    assert!(matches!(
        fetch_capped(body, 10).await,
        Err(UpstreamError::TooSlow { least: 1000, .. })
    ));
}

#[tokio::test]
async fn passwords_are_not_in_errors() {
    let (base, _requests) = serve(vec![b"nonsense\r\n\r\n".to_vec(); 2]).await;
    let error = get(&base, None).await.expect_err("not HTTP");
    let mut text = format!("{error} {error:?}");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &error.to_string();
        cause = error.source();
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_redirection_never_loses_what_protects_the_connection() {
    let base: BaseUrl = "https://bob:secret@h/debian".parse().expect("a URL");
    let lead = |location: &str| {
        target(
            &base,
            base.with_credentials(),
            Some(&location.parse().expect("a header")),
        )
    };
    assert!(lead("http://h/debian").is_err());
    assert_eq!(lead("https://other/x").expect("followed").as_str(), "https://other/x");
    assert_eq!(
        lead("https://eve:x@h:8443/").expect("followed").as_str(),
        "https://h:8443/"
    );
    assert_eq!(lead("/y").expect("followed").as_str(), "https://bob:secret@h/y");
    assert!(target(&base, base.with_credentials(), None).is_ok_and(|url| url.path() == "/debian"));
}

#[tokio::test]
async fn the_rest_of_a_file_is_taken_only_when_it_is_that() {
    let part = |status: &str, range: &str| -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 2\r\n");
        format!("{head}content-range: {range}\r\n\r\nlo").into()
    };
    let ask = async |answer: Vec<u8>| {
        let (base, mut requests) = serve(vec![answer]).await;
        let of = Validators {
            etag: Some("\"a\"".into()),
            last_modified: None,
        };
        let ask = Ask::Rest { from: 3, of: Some(&of) };
        let answer = client().get(&base, &"x".parse().expect("valid"), ask).await;
        (answer, requests.recv().await.expect("one request").to_lowercase())
    };
    let (answer, request) = ask(part("206 Partial Content", "bytes 3-4/5")).await;
    let Ok(Answer::Body(body)) = answer else {
        panic!("a body")
    };
    assert_eq!((body.begins(), body.length()), (3, Some(5)));
    assert!(
        request.contains("range: bytes=3-\r\n") && request.contains("if-range: \"a\"\r\n"),
        "{request}"
    );
    let (answer, _) = ask(ok("", "hello")).await;
    assert!(matches!(answer, Ok(Answer::Body(body)) if body.begins() == 0));
    for wrong in [part("206 Partial Content", "bytes 2-3/5"), part("416 No", "bytes */2")] {
        let (answer, _) = ask(wrong).await;
        assert!(matches!(answer, Err(error @ UpstreamError::WrongRange { .. }) if error.is_temporary()));
    }
    let (base, _requests) = serve(vec![part("206 Partial Content", "bytes 0-1/2")]).await;
    assert!(
        matches!(get(&base, None).await, Err(UpstreamError::WrongRange { .. })),
        "nobody asked"
    );
}

#[tokio::test]
async fn temporary_failures_are_told_from_lasting_ones() {
    for (line, temporary) in [
        ("408 Timeout", true),
        ("429 Too Many", true),
        ("500 Oh", true),
        ("503 Busy", true),
        ("400 Bad", false),
        ("401 Who", false),
        ("403 No", false),
        ("418 Teapot", false),
        ("206 Part", true),
    ] {
        let (base, _requests) = serve(vec![status(line, "")]).await;
        let error = get(&base, None).await.expect_err("refused");
        assert_eq!(error.is_temporary(), temporary, "{line}");
    }
    let nobody: BaseUrl = "http://127.0.0.1:1/".parse().expect("a URL");
    assert!(get(&nobody, None).await.expect_err("nobody").is_temporary());
}

#[tokio::test]
async fn an_untrusted_certificate_is_nothing_to_wait_for() {
    // Not TLS at all, which is as good as a wrong certificate.
    let (base, _requests) = serve(vec![b"HTTP/1.1 400 Plain\r\n\r\n".to_vec(); 2]).await;
    let mut url = base.with_credentials().clone();
    url.set_scheme("https").expect("a scheme of the web");
    let base: BaseUrl = url.as_str().parse().expect("a URL");
    let error = get(&base, None).await.expect_err("no TLS");
    assert!(!error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_followed_from_outside() {
    let (there, mut requests) = serve(vec![ok("", "x")]).await;
    let port = there.with_credentials().port().expect("has one");
    let url: Url = format!("http://localhost:{port}/").parse().expect("a URL");
    let client = client();
    let reach = async |from: Scope| {
        let http = client.elsewhere(from).expect("sets up");
        http.get(url.clone()).send().await
    };
    for from in [Scope::Public, Scope::Private, Scope::Link] {
        let error = UpstreamError::transport(&url, &Proxies::default(), reach(from).await.expect_err("refused"));
        assert!(matches!(&error, UpstreamError::Redirect { .. }), "{error:?}");
        assert!(!error.is_temporary());
    }
    assert!(requests.try_recv().is_err(), "nobody was asked");
    assert!(reach(Scope::Loopback).await.is_ok());
}
