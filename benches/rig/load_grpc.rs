//! A closed-loop gRPC load generator: so many ModelInfer calls at a time over so many HTTP/2 connections.
//!
//! `load_grpc ADDRESS PAYLOAD SECONDS STREAMS [CONNECTIONS]` sends PAYLOAD, a framed message, and prints one JSON
//! object: requests per second, latency at the 50th and 99th percentile in microseconds, failed calls.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::Request;

/// Latencies and failures of one task.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    failed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().with_context(|| format!("missing argument: {what}"));
    let address: std::net::SocketAddr = next("address")?.parse()?;
    let payload = Bytes::from(std::fs::read(next("payload")?)?);
    let time = Duration::from_secs_f64(next("seconds")?.parse()?);
    let streams: usize = next("streams")?.parse()?;
    let connections: usize = next("connections").map_or(Ok(1), |text| text.parse())?;

    let begin = Instant::now();
    let end = begin + time;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..connections.max(1) {
        let socket = tokio::net::TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (client, connection) = h2_connect(socket).await?;
        tokio::spawn(connection);
        let share = streams / connections + usize::from(index < streams % connections);
        for _ in 0..share {
            tasks.spawn(ask_until(client.clone(), payload.clone(), end));
        }
    }
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        let tally = tally??;
        all.micros.extend(tally.micros);
        all.failed += tally.failed;
    }
    let seconds = begin.elapsed().as_secs_f64();
    all.micros.sort_unstable();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = ((all.micros.len() as f64 * share) as usize).min(all.micros.len().saturating_sub(1));
        all.micros.get(index).copied().unwrap_or_default()
    };
    println!(
        "{{\"requests_per_second\":{:.0},\"p50_us\":{},\"p99_us\":{},\"requests\":{},\"failed\":{}}}",
        all.micros.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        all.micros.len(),
        all.failed
    );
    Ok(())
}

type Client = hyper::client::conn::http2::SendRequest<http_body_util::Full<Bytes>>;

async fn h2_connect(
    socket: tokio::net::TcpStream,
) -> anyhow::Result<(Client, impl Future<Output = ()> + Send + 'static)> {
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(socket);
    let (client, connection) = hyper::client::conn::http2::Builder::new(executor)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(io)
        .await?;
    Ok((client, async move {
        connection.await.ok();
    }))
}

async fn ask_until(mut client: Client, payload: Bytes, end: Instant) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(tally);
        }
        if ask(&mut client, payload.clone()).await? {
            tally.micros.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            tally.failed += 1;
        }
    }
}

/// Whether the call succeeded.
async fn ask(client: &mut Client, payload: Bytes) -> anyhow::Result<bool> {
    use http_body_util::BodyExt;
    let request = Request::post("http://weir/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::Full::new(payload))?;
    let response = client.send_request(request).await?;
    let collected = response.into_body().collect().await?;
    Ok(collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .is_some_and(|status| status == "0"))
}
