//! A running server, Python environments and tools for the tests that drive the real binary.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where tests keep what outlives them: virtual environments, downloads.
pub(crate) fn target_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The real binary on free ports of 127.0.0.1, stopped by its own process id.
pub(crate) struct Server {
    child: Child,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) metrics: String,
    stdout: Option<std::thread::JoinHandle<String>>,
}

impl Server {
    /// Starts `weir serve ARGS…` and waits until it is ready.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Server {
        Server::start_with(args, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with<S: AsRef<std::ffi::OsStr>>(
        args: &[S],
        environment: &[(String, String)],
    ) -> Server {
        let server = Server::start_in(args, environment);
        until("the server is ready", || {
            get(&server.http, "/v2/health/ready").is_ok_and(|(status, _)| status == 200)
        });
        server
    }

    /// Starts `weir serve ARGS…` and waits until it listens.
    pub(crate) fn start_unready<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Server {
        Server::start_in(args, &[])
    }

    fn start_in<S: AsRef<std::ffi::OsStr>>(args: &[S], environment: &[(String, String)]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("serve")
            .args(args)
            .args(["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"])
            .args(["--cache-dir"])
            .arg(target_dir().join("probe-cache"))
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut found = std::collections::BTreeMap::new();
        let mut seen = String::new();
        while found.len() < 3 {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("stdout is text");
            assert!(read > 0, "the server ended before it said where it listens:\n{seen}");
            seen.push_str(&line);
            for (key, value) in parse_addresses(&line) {
                found.insert(key, value);
            }
        }
        let stdout = std::thread::spawn(move || {
            let mut rest = String::new();
            lines.read_to_string(&mut rest).ok();
            rest
        });
        let take = |key: &str| found.get(key).cloned().unwrap_or_default();
        Server {
            child,
            http: take("http"),
            grpc: take("grpc"),
            metrics: take("metrics"),
            stdout: Some(stdout),
        }
    }

    /// Sends SIGTERM, waits, and returns the exit code and what the server printed after its addresses.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.terminate();
        let code = self.wait();
        let printed = self.stdout.take().map(|thread| thread.join().unwrap_or_default());
        (code, printed.unwrap_or_default())
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(pid, signal).ok();
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; the exit code, or nothing when a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().expect("the server can be waited for");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// The value of a series, named with its labels as the exposition has them; 0 when it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, text) = get(&self.metrics, "/metrics").expect("metrics are served");
        let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
        text.lines().rev().find_map(value).unwrap_or(0.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Waits until `done`; fails after a minute.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited for a minute in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The `name=host:port` or `name … host:port` pairs of a start-up line.
fn parse_addresses(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [name, .., address] = words.as_slice() {
        let name = name.trim_end_matches(':').to_ascii_lowercase();
        let address = address.split_once("://").map_or(*address, |(_, address)| address);
        let address = address.trim_end_matches('/').trim_end_matches("/metrics");
        if ["http", "grpc", "metrics"].contains(&name.as_str())
            && address.parse::<std::net::SocketAddr>().is_ok()
        {
            found.push((name, address.to_owned()));
        }
    }
    found
}

/// One HTTP/1.1 GET, by hand: status and body.
pub(crate) fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    let text = String::from_utf8_lossy(&response).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// The Python of a virtual environment with the packages of `tests/clients/<requirements>`; made once.
pub(crate) fn python(requirements: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let file = root().join("tests/clients").join(requirements);
    let wanted = std::fs::read_to_string(&file).expect("the requirements file");
    let venv = target_dir().join("venv").join(requirements.trim_end_matches(".txt"));
    let python = venv.join("bin/python");
    let stamp = venv.join("weir-requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return python;
    }
    // Debian's python3 makes environments without pip unless python3-venv is installed; its pip can fill them.
    run(Command::new("python3").args(["-m", "venv", "--clear", "--without-pip"]).arg(&venv));
    run(Command::new("python3")
        .args(["-m", "pip", "--python"])
        .arg(&python)
        .args(["install", "--quiet", "--disable-pip-version-check", "pip", "-r"])
        .arg(&file));
    std::fs::write(&stamp, wanted).expect("the stamp can be written");
    python
}

/// Runs a command to its end; its output becomes the failure's text.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    text
}

/// promtool, which comes with Debian's prometheus package.
pub(crate) fn promtool() -> Option<PathBuf> {
    of_prometheus("promtool")
}

/// Prometheus itself, of the same package.
pub(crate) fn prometheus() -> Option<PathBuf> {
    of_prometheus("prometheus")
}

/// A program of Debian's prometheus package. Where that is not installed, the package is unpacked under the target folder;
/// where it cannot be had either, the check is skipped, unless `WEIR_TEST_REQUIRE_TOOLS` is set.
fn of_prometheus(program: &str) -> Option<PathBuf> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if Command::new(program).arg("--version").output().is_ok() {
        return Some(program.into());
    }
    let folder = target_dir().join("prometheus");
    let tool = folder.join("usr/bin").join(program);
    if !tool.exists() {
        std::fs::create_dir_all(&folder).ok()?;
        let fetched = Command::new("apt-get").args(["download", "prometheus"]).current_dir(&folder).status();
        if fetched.is_ok_and(|status| status.success()) {
            let package = std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path());
            for package in package.filter(|path| path.extension().is_some_and(|e| e == "deb")) {
                run(Command::new("dpkg").arg("-x").arg(package).arg(&folder));
            }
        }
    }
    let found = tool.exists();
    assert!(found || std::env::var_os("WEIR_TEST_REQUIRE_TOOLS").is_none(), "{program} is not to be had");
    found.then_some(tool)
}

/// Copies a folder.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("the file can be copied");
        }
    }
}

/// One HTTP/1.1 POST, by hand: status and body.
pub(crate) fn post(address: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    let text = String::from_utf8_lossy(&response).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}
