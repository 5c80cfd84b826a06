//! Small files, whole in memory.
//!
//! Owns the reading of a body up to a cap. Larger files are streamed by whoever asks for them.

use super::{Body, UpstreamError};

/// All bytes of `body`, of which there may be `cap` at most. No more than one chunk past the cap is read.
///
/// # Errors
/// [`UpstreamError::TooLong`], or whatever breaks the connection.
pub async fn fetch_capped(mut body: Body, cap: u64) -> Result<Vec<u8>, UpstreamError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if (bytes.len() + chunk.len()) as u64 > cap {
            return Err(UpstreamError::TooLong {
                url: body.url().clone(),
                cap,
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
