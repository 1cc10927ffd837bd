//! Where an origin is: a folder, `sftp://[user@]host[:port]/abs/path`, or `s3://bucket[/prefix][?endpoint=&region=&path_style=]`.
//!
//! The text is taken apart into typed parts with every part checked. A password has no place in it: secrets are named by
//! reference in the configuration, never written. Errors say what is wrong without repeating the text, which may be just
//! such a secret.

use std::ffi::{OsStr, OsString};

use musicfs_pure::escape::unescape;

/// A location, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine, as it was written.
    Folder(OsString),
    /// A folder of an SSH server.
    Sftp(SftpLocation),
    /// A bucket, or a part of one.
    S3(S3Location),
}

/// A folder of an SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpLocation {
    /// The user there; the SSH configuration's or the own name when it is left out.
    pub user: Option<String>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port; the SSH configuration's or 22 when it is left out.
    pub port: Option<u16>,
    /// Absolute, as bytes.
    pub path: Vec<u8>,
}

/// A bucket, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// What keys must begin with, without a slash at either end; empty for all.
    pub prefix: String,
    /// The server, where it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the bucket is named in the path instead of the host name.
    pub path_style: Option<bool>,
}

/// Why a text is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// A scheme that is none of ours.
    #[error("`{scheme}://` is no kind of origin; write a path, sftp://[user@]host[:port]/path or s3://bucket[/prefix]")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// A password in the text.
    #[error("a location must not hold a password or key; remove it, secrets are given by reference")]
    HoldsSecret,
    /// A part that is not what it should be.
    #[error("the {part} is not valid; {advice}")]
    Invalid {
        /// Which part.
        part: &'static str,
        /// What it should be.
        advice: &'static str,
    },
    /// A kind of origin that is not built.
    #[error("{scheme}:// origins are not served yet; give the path of a folder")]
    NotServed {
        /// The scheme.
        scheme: &'static str,
    },
}

const fn invalid(part: &'static str, advice: &'static str) -> LocationError {
    LocationError::Invalid { part, advice }
}

impl Location {
    /// Takes a text apart. What has no scheme is a path.
    pub fn parse(text: &OsStr) -> Result<Self, LocationError> {
        let Some((scheme, rest)) = split_scheme(text.as_encoded_bytes()) else {
            return Ok(Self::Folder(text.to_owned()));
        };
        let plain = rest.bytes().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii());
        match scheme {
            _ if !plain => Err(invalid("address", "write spaces and control characters as %XX")),
            "sftp" => parse_sftp(rest).map(Self::Sftp),
            "s3" => parse_s3(rest).map(Self::S3),
            _ => Err(LocationError::UnknownScheme { scheme: scheme.chars().take(16).collect() }),
        }
    }
}

/// The scheme and what is behind `://`. A text that is not UTF-8 is a path.
fn split_scheme(text: &[u8]) -> Option<(&str, &str)> {
    let (scheme, rest) = std::str::from_utf8(text).ok()?.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some((scheme, rest))
}

fn parse_sftp(rest: &str) -> Result<SftpLocation, LocationError> {
    let slash = rest.find('/').ok_or(invalid("path", "write it behind the host, from its first slash"))?;
    let (authority, path) = rest.split_at(slash);
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(LocationError::HoldsSecret),
        Some((user, server)) => (Some(user), server),
        None => (None, authority),
    };
    let user = user.map(check_user).transpose()?;
    let (host, port) = split_port(server)?;
    let path = unescape(path.as_bytes());
    if path.contains(&0) {
        return Err(invalid("path", "it must not have a NUL byte"));
    }
    Ok(SftpLocation { user, host: check_host(host)?, port, path })
}

fn check_user(user: &str) -> Result<String, LocationError> {
    let valid = !user.is_empty()
        && !user.starts_with('-')
        && user.bytes().all(|byte| byte.is_ascii_graphic())
        && !user.contains('@');
    if valid { Ok(user.to_owned()) } else { Err(invalid("user", "write a login name before the `@`")) }
}

fn split_port(server: &str) -> Result<(&str, Option<u16>), LocationError> {
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(invalid("host", "close the bracket of the address"))?;
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':').unwrap_or("?")) })
        }
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    let number = |port: &str| port.parse::<u16>().ok().filter(|&number| number > 0 && !port.starts_with('+'));
    match port {
        Some(port) => Ok((host, Some(number(port).ok_or(invalid("port", "write a number from 1 to 65535"))?))),
        None => Ok((host, None)),
    }
}

/// Also keeps out what could be taken for an option by a program that is given the host.
fn check_host(host: &str) -> Result<String, LocationError> {
    let valid = (1..=253).contains(&host.len())
        && !host.starts_with(['-', '.'])
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte));
    if valid { Ok(host.to_owned()) } else { Err(invalid("host", "write a name or an address")) }
}

fn parse_s3(rest: &str) -> Result<S3Location, LocationError> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.contains('@') || bucket.contains(':') {
        return Err(LocationError::HoldsSecret);
    }
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
        && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_bucket {
        return Err(invalid("bucket", "write 3 to 63 letters, digits, `-`, `.` and `_`"));
    }
    let prefix = prefix.trim_matches('/');
    let has_dots = prefix.split('/').any(|part| matches!(part, "." | ".."));
    if has_dots {
        return Err(invalid("prefix", "it must not have `.` or `..` as a part"));
    }
    let mut location = S3Location {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: None,
        region: None,
        path_style: None,
    };
    query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| set_s3_option(&mut location, pair))?;
    Ok(location)
}

fn set_s3_option(location: &mut S3Location, pair: &str) -> Result<(), LocationError> {
    match pair.split_once('=').unwrap_or((pair, "")) {
        ("endpoint", url) => location.endpoint = Some(check_endpoint(url)?),
        ("region", region) if !region.is_empty() => location.region = Some(region.to_owned()),
        ("path_style", "true") => location.path_style = Some(true),
        ("path_style", "false") => location.path_style = Some(false),
        _ => return Err(invalid("query", "it takes endpoint=, region= and path_style=true or false")),
    }
    Ok(())
}

fn check_endpoint(url: &str) -> Result<String, LocationError> {
    let server = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match server.map(|server| server.trim_end_matches('/')) {
        Some(server) if server.contains('@') => Err(LocationError::HoldsSecret),
        Some(server) if !server.is_empty() && !server.contains(['/', '?', '#']) => Ok(url.to_owned()),
        _ => Err(invalid("endpoint", "write http:// or https://, the host and perhaps a port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(OsStr::new(text))
    }

    #[test]
    fn text_without_a_scheme_is_a_path() {
        for text in ["/mnt/nas", "~/Music", "a b", "/odd://name", "1://x", ""] {
            assert_eq!(parse(text), Ok(Location::Folder(text.into())), "{text}");
        }
    }

    #[test]
    fn sftp_is_taken_apart() {
        let sftp = |user: Option<&str>, host: &str, port, path: &[u8]| {
            let user = user.map(str::to_owned);
            Ok(Location::Sftp(SftpLocation { user, host: host.to_owned(), port, path: path.to_vec() }))
        };
        assert_eq!(parse("sftp://nas/music"), sftp(None, "nas", None, b"/music"));
        assert_eq!(parse("sftp://me@nas.lan:2222/a%20b"), sftp(Some("me"), "nas.lan", Some(2222), b"/a b"));
        assert_eq!(parse("sftp://[fe80::1]:22/"), sftp(None, "fe80::1", Some(22), b"/"));
    }

    #[test]
    fn s3_is_taken_apart() {
        let Ok(Location::S3(s3)) = parse("s3://music/flac/?endpoint=http://localhost:9000&region=eu&path_style=true")
        else {
            panic!("an S3 location");
        };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("music", "flac"));
        assert_eq!(s3.endpoint.as_deref(), Some("http://localhost:9000"));
        assert_eq!((s3.region.as_deref(), s3.path_style), (Some("eu"), Some(true)));
    }

    #[test]
    fn secrets_are_refused_and_never_repeated() {
        for text in [
            "sftp://me:hunter2@nas/music",
            "sftp://me:hunter2@x@nas/music",
            "s3://AKIA:hunter2@bucket/x",
            "s3://bucket?endpoint=https://me:hunter2@host",
            "s3://bucket?secret_key=hunter2",
            "ftp://me:hunter2@host/",
            "https://me:hunter2@host/",
            "sftp://hunter2\u{1}/x",
            "sftp://nas:hunter2/x",
            "sftp://[hunter2/x",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn malformed_locations_are_refused() {
        for text in [
            "sftp://",
            "sftp://nas",
            "sftp:///x",
            "sftp://nas:0/x",
            "sftp://nas:65536/x",
            "sftp://nas:+22/x",
            "sftp://-oProxyCommand=x/y",
            "sftp://@nas/x",
            "sftp://-l@nas/x",
            "sftp://[::1]x/y",
            "sftp://nas/a%00b",
            "s3://",
            "s3://ab",
            "s3://bucket/../other",
            "s3://bucket?path_style=maybe",
            "s3://bucket?endpoint=host",
            "s3://bucket?endpoint=https://",
            "sftp://a b/x",
            "ftp://host/x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
