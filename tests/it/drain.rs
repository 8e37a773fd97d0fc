//! How the real binary ends: what it still answers, what it waits for, and what it leaves behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::onnx_file;
use crate::support::{Server, get, post, until};

const BODY: &[u8] =
    br#"{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

#[test]
fn during_the_drain_delay_it_is_not_ready_and_answers() {
    let server = Server::start(&["models", "--drain-delay", "1h"]);
    server.terminate();
    until("readiness turns false", || get(&server.http, "/v2/health/ready").unwrap().0 == 503);
    // On connections that begin after the signal.
    let (status, body) = post(&server.http, "/v2/models/iris/infer", "", BODY).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(get(&server.http, "/v2/health/live").unwrap().0, 200);
    let (_, metrics) = get(&server.metrics, "/metrics").unwrap();
    assert!(metrics.contains("\nweir_server_ready 0\n"), "{metrics}");
    // A second signal ends the delay.
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn connections_that_say_nothing_do_not_hold_the_end_up() {
    let server = Server::start(&["models", "--grace-period", "1h", "--header-timeout", "1h"]);
    let mut silent = TcpStream::connect(&server.http).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Answered once, so that the server is known to have read what comes before the silence.
    write!(silent, "GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(silent.read(&mut [0; 512]).unwrap() > 0);
    write!(silent, "GET /v2/health/live HTTP/1.1\r\nhost:").unwrap();
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_signal_while_a_model_is_probed_leaves_no_orphan() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        let repository = tempfile::tempdir().unwrap();
        let folder = repository.path().join("endless/1");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.onnx"), onnx_file::endless_load()).unwrap();
        let mut server = Server::start_unready(&[
            repository.path().as_os_str(),
            "--probe-timeout".as_ref(),
            "1h".as_ref(),
        ]);
        let pid = server.pid();
        until("a probe runs", || !children(pid).is_empty());
        let probes = children(pid);
        server.signal(signal);
        let code = server.wait();
        assert_eq!(code, (signal == rustix::process::Signal::TERM).then_some(0));
        until("the probes are gone", || probes.iter().all(|probe| !is_alive(probe)));
    }
}

/// A process by its id and when it began, which together are never used again.
#[derive(Debug, PartialEq)]
struct Process {
    id: u32,
    begun: String,
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<Process> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        stat(id).filter(|(_, of, _)| *of == parent).map(|(_, _, begun)| Process { id, begun })
    })
    .collect()
}

/// Whether `process` still runs; one that ended and that nobody has waited for does not.
fn is_alive(process: &Process) -> bool {
    stat(process.id).is_some_and(|(state, _, begun)| begun == process.begun && state != "Z")
}

/// State, parent and begin of a process.
fn stat(id: u32) -> Option<(String, u32, String)> {
    let text = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.to_string(), fields.get(1)?.parse().ok()?, fields.get(19)?.to_string()))
}
