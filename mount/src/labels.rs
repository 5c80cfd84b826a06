//! The labels by which SELinux judges who may read what is mounted.
//!
//! Owns [`Labels`] and how they are told to the kernel. It does not know what a label means: that is the policy's.

use std::io;
use std::path::Path;

/// What only a kernel with SELinux in use shows.
const IN_USE: &str = "/sys/fs/selinux/enforce";

/// What SELinux shall take the mount for (mount(8), "context="), each as `user:role:type:level`. A mount is served by a program and
/// has no labels of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The label of every file, and of the mount as such.
    pub context: Option<String>,
    /// The label of the mount as such.
    pub fscontext: Option<String>,
    /// The label of files that have none.
    pub defcontext: Option<String>,
    /// The label of the root directory.
    pub rootcontext: Option<String>,
}

impl Labels {
    /// The labels by the options' names.
    pub fn named(&mut self) -> [(&'static str, &mut Option<String>); 4] {
        [
            ("context", &mut self.context),
            ("fscontext", &mut self.fscontext),
            ("defcontext", &mut self.defcontext),
            ("rootcontext", &mut self.rootcontext),
        ]
    }

    /// The labels that are given, with the options' names.
    pub(crate) fn given(&self) -> Vec<(&'static str, String)> {
        let mut labels = self.clone();
        let named = labels.named().into_iter();
        named
            .filter_map(|(name, label)| label.take().map(|label| (name, label)))
            .collect()
    }

    /// The labels that the kernel is told of. None where SELinux is not in use, as the kernel would refuse to mount; mount(8) does the
    /// same.
    pub(crate) fn wanted(&self) -> io::Result<Vec<(&'static str, String)>> {
        self.wanted_where_selinux_is(Path::new(IN_USE).exists())
    }

    fn wanted_where_selinux_is(&self, in_use: bool) -> io::Result<Vec<(&'static str, String)>> {
        let given = self.given();
        for (name, label) in &given {
            // Either would end it where other options follow.
            if label.contains(['"', '\0']) {
                let message = format!("{name} is no SELinux label: {label:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            if !in_use {
                tracing::warn!(label, "{name} is ignored: SELinux is not in use");
            }
        }
        Ok(if in_use { given } else { Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &str = "system_u:object_r:httpd_sys_content_t:s0";

    fn labels() -> Labels {
        Labels {
            context: Some(CONTENT.to_owned()),
            rootcontext: Some("a:b:c:s0:c1,c2".to_owned()),
            ..Labels::default()
        }
    }

    #[test]
    fn what_is_given_is_wanted() {
        assert_eq!(Labels::default().wanted_where_selinux_is(true).unwrap(), []);
        let expected = [
            ("context", CONTENT.to_owned()),
            ("rootcontext", "a:b:c:s0:c1,c2".to_owned()),
        ];
        assert_eq!(labels().wanted_where_selinux_is(true).unwrap(), expected);
    }

    #[test]
    fn no_label_becomes_another_option() {
        for text in ["a:b:c:s0\",allow_other", "a\0b"] {
            let mut labels = Labels::default();
            *labels.named()[1].1 = Some(text.to_owned());
            let error = labels.wanted_where_selinux_is(true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text:?}");
            assert!(error.to_string().starts_with("fscontext"), "{error}");
        }
    }

    #[test]
    fn without_selinux_labels_are_left_out() {
        assert_eq!(labels().wanted_where_selinux_is(false).unwrap(), []);
    }
}
