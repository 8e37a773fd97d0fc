//! A closed-loop gRPC load generator: so many requests at a time over so many HTTP/2 connections.
//!
//! `load_grpc ADDRESS PAYLOAD SECONDS IN_FLIGHT [CONNECTIONS [STREAMS]]` sends PAYLOAD, a framed message, as unary
//! ModelInfer calls, or with STREAMS over so many ModelStreamInfer calls that share IN_FLIGHT and are spread over the
//! connections. It prints one JSON object: requests per second, latency at the 50th and 99th percentile in
//! microseconds, failed requests.

#![allow(clippy::print_stdout)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use tokio_stream::wrappers::ReceiverStream;

/// Bytes before each message: a flag and the length.
const PREFIX_LEN: usize = 5;

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
    let in_flight: usize = next("requests in flight")?.parse()?;
    let connections: usize = next("connections").map_or(Ok(1), |text| text.parse())?;
    let streams: usize = next("streams").map_or(Ok(0), |text| text.parse())?;

    let begin = Instant::now();
    let end = begin + time;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..connections.max(1) {
        let socket = tokio::net::TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (client, connection) = h2_connect(socket).await?;
        tokio::spawn(connection);
        let share = |of: usize, part: usize, parts: usize| of / parts + usize::from(part < of % parts);
        if streams == 0 {
            for _ in 0..share(in_flight, index, connections) {
                tasks.spawn(ask_until(client.clone(), payload.clone(), end));
            }
        } else {
            for stream in (index..streams).step_by(connections.max(1)) {
                let depth = share(in_flight, stream, streams);
                tasks.spawn(stream_until(client.clone(), payload.clone(), end, depth));
            }
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
        "{{\"requests_per_second\":{:.2},\"p50_us\":{},\"p99_us\":{},\"requests\":{},\"failed\":{}}}",
        all.micros.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        all.micros.len(),
        all.failed
    );
    Ok(())
}

type Messages = StreamBody<ReceiverStream<Result<Frame<Bytes>, std::convert::Infallible>>>;
type Client = hyper::client::conn::http2::SendRequest<Either<Full<Bytes>, Messages>>;

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
    let request = call("ModelInfer").body(Either::Left(Full::new(payload)))?;
    let response = client.send_request(request).await?;
    let collected = response.into_body().collect().await?;
    Ok(collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .is_some_and(|status| status == "0"))
}

/// Keeps `depth` requests of one stream in flight; each answer sends the next.
async fn stream_until(
    mut client: Client,
    payload: Bytes,
    end: Instant,
    depth: usize,
) -> anyhow::Result<Tally> {
    let (tx, rx) = tokio::sync::mpsc::channel(depth.max(1));
    let mut sent = VecDeque::new();
    for _ in 0..depth {
        tx.send(Ok(Frame::data(payload.clone()))).await?;
        sent.push_back(Instant::now());
    }
    let mut tx = Some(tx);
    let body = Either::Right(StreamBody::new(ReceiverStream::new(rx)));
    let mut answers = client.send_request(call("ModelStreamInfer").body(body)?).await?.into_body();
    let (mut tally, mut rest) = (Tally::default(), BytesMut::new());
    while let Some(frame) = answers.frame().await {
        let Ok(data) = frame?.into_data() else { break };
        rest.extend_from_slice(&data);
        while let Some(succeeded) = take_answer(&mut rest)? {
            let now = Instant::now();
            let begin = sent.pop_front().context("an answer that nobody asked for")?;
            if succeeded {
                tally.micros.push(u32::try_from((now - begin).as_micros()).unwrap_or(u32::MAX));
            } else {
                tally.failed += 1;
            }
            if now >= end {
                tx = None;
            }
            if let Some(tx) = &tx {
                tx.send(Ok(Frame::data(payload.clone()))).await?;
                sent.push_back(now);
            }
        }
    }
    tally.failed += sent.len() as u64;
    Ok(tally)
}

/// Takes a whole answer off `rest` and says whether it is one of a model: it begins with the field that holds it.
fn take_answer(rest: &mut BytesMut) -> anyhow::Result<Option<bool>> {
    let Some((prefix, _)) = rest.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let [_, length @ ..] = *prefix;
    let len = usize::try_from(u32::from_be_bytes(length))?;
    if rest.len() < PREFIX_LEN + len {
        return Ok(None);
    }
    rest.advance(PREFIX_LEN);
    let message = rest.split_to(len);
    Ok(Some(message.first() == Some(&(2 << 3 | 2))))
}

fn call(method: &str) -> http::request::Builder {
    Request::post(format!("http://weir/inference.GRPCInferenceService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}
