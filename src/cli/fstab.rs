//! The program as mount(8) starts it: under the name `mount.mirrorctl`, for a line of `/etc/fstab`.
//!
//! Owns the translation of that call into one of `mirrorctl mount`. The interface is that of "External helpers" in mount(8):
//! `mount.mirrorctl SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`, with the configuration file as SPEC. It runs nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The name of the link to this program that mount(8) looks for, in `/sbin`.
const HELPER: &str = "mount.mirrorctl";

/// Options that say what the mount is anyway, or that mount(8) and systemd read themselves. mount(8) hands `rw` to every
/// helper unless the line says `ro`; what is mounted can be read only all the same.
const HELD_ANYWAY: [&str; 31] = [
    "_netdev",
    "async",
    "atime",
    "auto",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "group",
    "loud",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nogroup",
    "noowner",
    "norelatime",
    "nosuid",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "user",
    "users",
];

/// Options that say what SELinux shall take the mount for.
const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// What a call under the name of the helper asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// These arguments of `mirrorctl`, its name first.
    Mount(Vec<OsString>),
    /// Nothing: mount(8) only pretends (`-f`).
    Nothing,
}

/// What `arguments` ask for, if they are those of the helper.
///
/// # Errors
/// In words, what of them cannot be understood or done.
pub(super) fn call(arguments: &[OsString]) -> Option<Result<Call, String>> {
    let (program, rest) = arguments.split_first()?;
    let called = Path::new(program).file_name()?;
    (called == HELPER).then(|| translate(rest))
}

fn translate(arguments: &[OsString]) -> Result<Call, String> {
    let mut places: Vec<&OsStr> = Vec::new();
    let (mut verbose, mut pretend) = (false, false);
    let mut labels = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
            places.push(argument);
            continue;
        };
        match letters {
            b"o" => labels.extend(labels_among(arguments.next().ok_or("-o stands without options")?)?),
            b"t" => {
                arguments.next().ok_or("-t stands without a type")?;
            }
            b"N" => return Err("mirrorctl mounts in the namespace it is started in: -N is not supported".to_owned()),
            _ if !letters.is_empty() && letters.iter().all(|letter| b"sfnv".contains(letter)) => {
                verbose |= letters.contains(&b'v');
                pretend |= letters.contains(&b'f');
            }
            _ => return Err(format!("the flag {} is not known", argument.display())),
        }
    }
    let [configuration, directory] = places[..] else {
        let form = "in /etc/fstab: CONFIGURATION-FILE MOUNT-POINT mirrorctl ro,nofail 0 0";
        return Err(format!("a configuration file and a mount point are expected ({form})"));
    };
    if pretend {
        return Ok(Call::Nothing);
    }
    let words = ["mirrorctl", "--config"].map(OsStr::new).into_iter();
    let command = ["mount", "--background", "--for-fstab"].map(OsStr::new).into_iter();
    let quiet = (!verbose).then_some(OsStr::new("--quiet"));
    let words = words
        .chain([configuration])
        .chain(quiet)
        .chain(command)
        .chain([directory])
        .chain(labels.iter().map(OsStr::new));
    Ok(Call::Mount(words.map(OsStr::to_owned).collect()))
}

/// The options that label the mount, as arguments. Others that would promise what is not so are refused.
fn labels_among(options: &OsStr) -> Result<Vec<String>, String> {
    let options = options.to_string_lossy();
    let mut labels = Vec::new();
    for option in split(&options) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let for_others = ["x-", "X-", "comment="];
        if LABELS.contains(&name) && !value.is_empty() {
            labels.push(format!("--label={name}={}", unquoted(value)));
        } else if !option.is_empty()
            && !HELD_ANYWAY.contains(&option)
            && !for_others.iter().any(|start| option.starts_with(start))
        {
            return Err(format!(
                "the option {option} means nothing here: everything but the mount point is said in the configuration file"
            ));
        }
    }
    Ok(labels)
}

/// The options between commas, of which those in quotes are no ends.
fn split(options: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    options.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(words: &str) -> Option<Result<Call, String>> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        call(&words)
    }

    fn mounts(words: &str) -> Call {
        Call::Mount(words.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn a_line_of_the_table_becomes_a_command() {
        let quiet = Ok(mounts(
            "mirrorctl --config /etc/m.toml --quiet mount --background --for-fstab /srv/m",
        ));
        for words in [
            "/sbin/mount.mirrorctl /etc/m.toml /srv/m",
            "mount.mirrorctl /etc/m.toml /srv/m -o rw",
            "mount.mirrorctl /etc/m.toml /srv/m -s -n -o ro,nofail,x-systemd.requires=network.target,_netdev -t mirrorctl",
            "mount.mirrorctl -sn -o defaults,comment=mine /etc/m.toml /srv/m",
        ] {
            assert_eq!(called(words).as_ref(), Some(&quiet), "{words}");
        }
        let told = mounts("mirrorctl --config /etc/m.toml mount --background --for-fstab /srv/m");
        assert_eq!(called("mount.mirrorctl /etc/m.toml /srv/m -v"), Some(Ok(told)));
        assert_eq!(
            called("mount.mirrorctl /etc/m.toml /srv/m -fv"),
            Some(Ok(Call::Nothing))
        );
    }

    #[test]
    fn labels_of_the_table_are_handed_on() {
        let expected = "mirrorctl --config a --quiet mount --background --for-fstab b \
            --label=context=u:object_r:httpd_sys_content_t:s0:c1,c2 --label=rootcontext=u:r:t";
        let words =
            "mount.mirrorctl a b -o ro,context=\"u:object_r:httpd_sys_content_t:s0:c1,c2\",nofail -o rootcontext=u:r:t";
        assert_eq!(called(words), Some(Ok(mounts(expected))));
    }

    #[test]
    fn under_another_name_it_is_none_of_this() {
        for words in [
            "mirrorctl mount",
            "/usr/bin/mirrorctl mount.mirrorctl",
            "mount.mirrorctl2 a b",
            "",
        ] {
            assert_eq!(called(words), None, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_promised_is_refused_by_name() {
        for (words, named) in [
            ("mount.mirrorctl /etc/m.toml", "a mount point"),
            ("mount.mirrorctl a b c", "a mount point"),
            ("mount.mirrorctl a b -o", "-o"),
            ("mount.mirrorctl a b -x", "-x"),
            ("mount.mirrorctl a b -", "-"),
            ("mount.mirrorctl a b -N 1", "-N"),
            ("mount.mirrorctl a b -o ro,uid=33", "uid=33"),
            ("mount.mirrorctl a b -o context", "context"),
            ("mount.mirrorctl a b -o context=u:r:t:s0:c1,c2", "c2"),
            ("mount.mirrorctl a b -o seclabel", "seclabel"),
        ] {
            let refused = called(words).expect("the helper").expect_err(words);
            assert!(refused.contains(named), "{words}: {refused}");
        }
    }
}
