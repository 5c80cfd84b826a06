//! A label of SELinux, as it is written in a configuration.
//!
//! Owns [`SelinuxLabel`] and its form. What a label allows is the policy's of the machine.

use std::fmt;
use std::str::FromStr;

/// A label: `system_u:object_r:httpd_sys_content_t:s0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelinuxLabel(String);

/// Text that is no [`SelinuxLabel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an SELinux label: user:role:type:level, such as system_u:object_r:httpd_sys_content_t:s0")]
pub struct NoLabel;

impl SelinuxLabel {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SelinuxLabel {
    type Err = NoLabel;

    /// Takes `user:role:type` with a `:level` or without. Only the level can have further colons, and commas.
    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_level = |byte: u8| is_word(byte) || b":,".contains(&byte);
        let sound = match parts[..] {
            [user, role, kind] => [user, role, kind].into_iter().all(|part| consists_of(part, is_word)),
            [user, role, kind, level] => {
                [user, role, kind].into_iter().all(|part| consists_of(part, is_word)) && consists_of(level, is_level)
            }
            _ => false,
        };
        if sound { Ok(Self(text.to_owned())) } else { Err(NoLabel) }
    }
}

fn consists_of(part: &str, fits: impl Fn(u8) -> bool) -> bool {
    !part.is_empty() && part.bytes().all(fits)
}

impl fmt::Display for SelinuxLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_from_other_text() {
        for text in [
            "system_u:object_r:httpd_sys_content_t:s0",
            "u:r:t",
            "u:r:t:s0-s0:c0.c1023",
            "u:r:t:s0:c1,c2",
        ] {
            assert_eq!(text.parse::<SelinuxLabel>().expect(text).as_str(), text);
        }
        for text in [
            "",
            "httpd_sys_content_t",
            "u:r",
            "u::t",
            "u:r:t:",
            "u:r:t,ro",
            "u:r:t:s0\",ro",
            "u:r:t :s0",
            "u:r:ü",
        ] {
            assert_eq!(text.parse::<SelinuxLabel>(), Err(NoLabel), "{text:?}");
        }
    }
}
