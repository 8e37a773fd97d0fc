//! The baseline of REST benchmarks: a bare hyper HTTP/1.1 server that reads each body and answers with as many bytes as
//! the `tiny` model's answer has. No routes, no checks.
//!
//! `echo_hyper PORT [ANSWER_BYTES] [THREADS]`

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    let port: u16 = next("9000").parse()?;
    let answer = Bytes::from(vec![b'x'; next("120").parse()?]);
    let threads: usize = next("1").parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    request.into_body().collect().await.ok();
                    Ok::<_, Infallible>(Response::new(Full::new(answer)))
                }
            });
            tokio::spawn(async move {
                http1::Builder::new().serve_connection(TokioIo::new(socket), service).await.ok();
            });
        }
    })
}
