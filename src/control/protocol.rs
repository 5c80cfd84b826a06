//! What commands and mounts say to each other: one line of JSON each way, then the connection ends.
//!
//! Owns the requests, the replies and their text. Every line carries the version of the protocol, so that programs
//! of two versions part with a clear word. It moves no bytes and takes no decision.
//!
//! ```text
//! > {"protocol":1,"request":"reconcile"}
//! < {"protocol":1,"answer":{"ok":"done"}}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ControlError, Facts};

/// Version of the protocol; raised when a line changes its meaning. New counters of a [`Status`] do not raise it.
pub const PROTOCOL: u32 = 1;

/// The figure of a [`Status`] that is not 0 while the catalog cannot be read, so that only what was published last is shown.
pub const DEGRADED: &str = "degraded";

/// The figure of a [`Status`] with the number of the process that serves the mount; [`Facts::pid`] is that of its holder.
pub const WORKER: &str = "worker";

/// The figure of a [`Status`] with the time, in seconds since 1970, since when that process serves.
pub const WORKER_SINCE: &str = "worker_since";

/// The figure of a [`Status`] with the number of processes that served the mount before.
pub const RESTARTS: &str = "restarts";

/// Longest request in bytes, without its end of line. A request has some 40; the limit only bounds what a peer can
/// make a mount keep in memory.
pub(super) const LONGEST_REQUEST: usize = 64 * 1024;

/// Longest answer in bytes: a million blob numbers, more than one process can hold descriptors by default, fit.
pub(super) const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// What a command asks of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The catalog changed: make it visible, then answer [`Reply::Done`].
    Reconcile,
    /// Blobs were found damaged, or are whole again: forget what is remembered of them, then answer [`Reply::Done`].
    Damage,
    /// Which blobs are open now? Answered by [`Reply::HeldBlobs`].
    HeldBlobs,
    /// How is the mount? Answered by [`Reply::Status`].
    Status,
    /// Unmount and exit. [`Reply::Done`] means that the place is free;
    /// [`LiveMount::wait_until_gone`](super::LiveMount::wait_until_gone) waits until it cannot be told any more. Its
    /// process ends soon after that, whoever still uses the mount.
    Stop,
    /// Let another process serve the mount, by the program as it is now. [`Reply::Done`] means that it will; the connection may
    /// also end without an answer. Whoever uses the mount waits and notices nothing.
    Upgrade,
}

/// What a mount answers when it did as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// Numbers of the blobs that the mount has open.
    HeldBlobs(Vec<u32>),
    /// How the mount is.
    Status(Status),
}

/// How a mount is: who it is, and figures by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The facts it announced.
    pub facts: Facts,
    /// Figures, by names that the mount chooses.
    pub counters: BTreeMap<String, u64>,
}

/// Everything an answer can be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Done as asked.
    Ok(Reply),
    /// Understood and permitted, but it failed.
    Failed(String),
    /// The peer may not ask this.
    Refused,
    /// Too many requests at once.
    Busy,
    /// The line is of another version; the envelope around this says which one is spoken here.
    OtherProtocol,
    /// The line is no request.
    Malformed(String),
}

/// The part of a line that is the same in all versions.
#[derive(Deserialize)]
struct Envelope {
    protocol: u32,
}

#[derive(Serialize, Deserialize)]
struct RequestLine {
    protocol: u32,
    request: Request,
}

#[derive(Serialize, Deserialize)]
struct AnswerLine {
    protocol: u32,
    answer: Answer,
}

/// The line of `request`, with its end.
pub(super) fn request_line(request: Request) -> Vec<u8> {
    line(&RequestLine {
        protocol: PROTOCOL,
        request,
    })
}

/// The line of `answer`, with its end.
pub(super) fn answer_line(answer: Answer) -> Vec<u8> {
    line(&AnswerLine {
        protocol: PROTOCOL,
        answer,
    })
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Paths in the facts were serialised once before, when they were announced.
    let mut text = serde_json::to_vec(value).expect("requests and answers have a JSON form");
    text.push(b'\n');
    text
}

/// Why a line is no request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// It is of another version.
    OtherProtocol,
    /// It is not of the form of a request.
    Malformed(serde_json::Error),
}

impl From<NoRequest> for Answer {
    fn from(reason: NoRequest) -> Self {
        match reason {
            NoRequest::OtherProtocol => Self::OtherProtocol,
            NoRequest::Malformed(error) => Self::Malformed(format!("not a request: {error}")),
        }
    }
}

/// The request in `line`.
pub(super) fn parse_request(line: &[u8]) -> Result<Request, NoRequest> {
    let envelope: Envelope = serde_json::from_slice(line).map_err(NoRequest::Malformed)?;
    if envelope.protocol != PROTOCOL {
        return Err(NoRequest::OtherProtocol);
    }
    let line: RequestLine = serde_json::from_slice(line).map_err(NoRequest::Malformed)?;
    Ok(line.request)
}

/// The reply in `line`, or why there is none.
pub(super) fn parse_answer(line: &[u8]) -> Result<Reply, ControlError> {
    let envelope: Envelope = serde_json::from_slice(line).map_err(ControlError::Malformed)?;
    if envelope.protocol != PROTOCOL {
        return Err(ControlError::OtherProtocol {
            theirs: envelope.protocol,
        });
    }
    let line: AnswerLine = serde_json::from_slice(line).map_err(ControlError::Malformed)?;
    match line.answer {
        Answer::Ok(reply) => Ok(reply),
        Answer::Failed(why) | Answer::Malformed(why) => Err(ControlError::Failed(why)),
        Answer::Refused => Err(ControlError::Refused),
        Answer::Busy => Err(ControlError::Busy),
        Answer::OtherProtocol => Err(ControlError::OtherProtocol { theirs: PROTOCOL }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        for request in [
            Request::Reconcile,
            Request::Damage,
            Request::HeldBlobs,
            Request::Status,
            Request::Stop,
            Request::Upgrade,
        ] {
            let line = request_line(request);
            assert_eq!(line.last(), Some(&b'\n'));
            assert_eq!(parse_request(&line).expect("a request"), request);
        }
        assert_eq!(
            request_line(Request::HeldBlobs),
            b"{\"protocol\":1,\"request\":\"held_blobs\"}\n"
        );
    }

    #[test]
    fn replies_survive_the_wire() {
        let replies = [
            Reply::Done,
            Reply::HeldBlobs(vec![1, u32::MAX]),
            Reply::Status(Status {
                facts: super::super::registration::tests::facts("/srv/apt", "/state", 7),
                counters: BTreeMap::from([("lookups".to_owned(), 3)]),
            }),
        ];
        for reply in replies {
            let line = answer_line(Answer::Ok(reply.clone()));
            assert_eq!(parse_answer(&line).expect("a reply"), reply);
        }
    }

    #[test]
    fn what_is_no_request_is_answered() {
        for bad in [
            &b""[..],
            b"{",
            b"[]",
            b"\xff",
            b"{\"protocol\":-1}",
            b"{\"protocol\":1}",
            b"{\"protocol\":1,\"request\":\"fly\"}",
            b"{\"request\":\"stop\"}",
        ] {
            assert!(matches!(parse_request(bad), Err(NoRequest::Malformed(_))), "{bad:?}");
        }
        let later = b"{\"protocol\":2,\"request\":{\"reconcile\":[\"debian\"]}}";
        assert!(matches!(parse_request(later), Err(NoRequest::OtherProtocol)));
    }

    #[test]
    fn an_answer_of_another_version_says_which() {
        let later = b"{\"protocol\":9,\"said\":true}";
        assert!(matches!(
            parse_answer(later),
            Err(ControlError::OtherProtocol { theirs: 9 })
        ));
        assert!(matches!(parse_answer(b"hello"), Err(ControlError::Malformed(_))));
    }

    #[test]
    fn every_refusal_becomes_its_error() {
        let error = |answer| parse_answer(&answer_line(answer)).expect_err("no reply");
        assert_eq!(error(Answer::Refused).to_string(), "needs the group mirrorctl or sudo");
        assert!(matches!(error(Answer::Busy), ControlError::Busy));
        assert!(matches!(error(Answer::Failed("disk".into())), ControlError::Failed(why) if why == "disk"));
        assert!(matches!(error(Answer::Malformed("x".into())), ControlError::Failed(_)));
    }
}
