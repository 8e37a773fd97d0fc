//! What git says about the working tree that a file lies in. Best effort: without git, without a tree, or when it takes
//! too long there is no record.
//!
//! A tree's own configuration may name programs that git would run; those that a status runs are switched off.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::registry::record::GitRecord;

/// How long all questions together may take.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The working tree around `path`. Blocking.
pub fn record(path: &Path) -> Option<GitRecord> {
    let path = path.canonicalize().ok()?;
    let folder = if path.is_dir() { path } else { path.parent()?.to_owned() };
    let deadline = Instant::now() + TIME_MAX;
    let ask = |arguments: &[&str]| ask(&folder, arguments, deadline);
    let commit = ask(&["rev-parse", "--verify", "HEAD"])?;
    let branch = ask(&["symbolic-ref", "--short", "-q", "HEAD"]).unwrap_or_default();
    let remote = ask(&["config", "--get", "remote.origin.url"]).unwrap_or_default();
    let changes = ask(&["status", "--porcelain", "--untracked-files=no", "--ignore-submodules"])?;
    Some(GitRecord { remote: without_credentials(&remote), branch, commit, dirty: !changes.is_empty() })
}

/// A remote's URL without user, password and query.
pub fn without_credentials(remote: &str) -> String {
    let remote = remote.trim();
    let Some((scheme, rest)) = remote.split_once("://") else {
        // `user@host:path` names no secret; a local path tells where the user's files are, which is nobody's business.
        return if remote.contains('@') || remote.contains(':') { remote.to_owned() } else { String::new() };
    };
    if scheme == "file" {
        return String::new();
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// Any URI without user, password and query; what is no URL stays as it is.
pub fn without_secrets(uri: &str) -> String {
    let has_secret =
        url::Url::parse(uri).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if has_secret { without_credentials(uri) } else { uri.to_owned() }
}

/// The trimmed answer of `git`, when it succeeds in time.
fn ask(folder: &Path, arguments: &[&str], deadline: Instant) -> Option<String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.take(ANSWER_BYTES_MAX).read_to_string(&mut text).ok().map(|_| text)
    });
    // A status that says more than is read blocks or breaks its pipe; either way it has changes to tell of.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::park_timeout(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                child.kill().ok();
                child.wait().ok();
                break None;
            }
        }
    };
    let text = reader.join().ok()??;
    let is_cut = text.len() as u64 == ANSWER_BYTES_MAX;
    (status?.success() || is_cut).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_lose_their_credentials() {
        let check = |remote: &str, expected: &str| assert_eq!(without_credentials(remote), expected);
        check("https://user:token@host.example/a/b.git?x=1", "https://host.example/a/b.git");
        check("https://host.example/a", "https://host.example/a");
        check("git@host.example:a/b.git\n", "git@host.example:a/b.git");
        check("ssh://git@host.example/a", "ssh://host.example/a");
        check("/srv/repository", "");
        check("file:///srv/repository", "");
    }

    #[test]
    fn a_tree_is_recorded_and_no_tree_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(record(folder.path()), None);
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false"];
            let status =
                Command::new("git").arg("-C").arg(folder.path()).args(identity).args(arguments).output();
            status.is_ok_and(|output| output.status.success())
        };
        assert!(git(&["init", "-q", "-b", "main"]), "git is needed for this test");
        std::fs::write(folder.path().join("a"), "1").unwrap();
        assert!(git(&["add", "a"]) && git(&["commit", "-q", "-m", "one"]));
        assert!(git(&["remote", "add", "origin", "https://me:secret@host.example/r.git"]));
        let clean = record(&folder.path().join("a")).unwrap();
        assert_eq!((clean.branch.as_str(), clean.commit.len(), clean.dirty), ("main", 40, false));
        assert_eq!(clean.remote, "https://host.example/r.git");
        std::fs::write(folder.path().join("a"), "2").unwrap();
        assert!(record(folder.path()).unwrap().dirty);
    }
}
