//! What the operator reads when the server is up: addresses, the table of models, and a request to paste.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::serving::{Engine, Manager, Servable};
use crate::tensor::DataType;

/// Most elements of the pasted request's inputs together.
const CURL_ELEMENTS_MAX: usize = 256;

/// Columns of the table of models.
const COLUMNS: usize = 8;

/// Where the server listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) metrics: SocketAddr,
    /// Whether they speak TLS, all but the metrics port.
    pub(super) is_tls: bool,
    pub(super) is_tls_on_metrics: bool,
}

impl Addresses {
    fn scheme(is_tls: bool) -> &'static str {
        if is_tls { "https" } else { "http" }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [scheme, metrics] = [self.is_tls, self.is_tls_on_metrics].map(Addresses::scheme);
        writeln!(f, "HTTP     {scheme}://{}", self.http)?;
        writeln!(f, "gRPC     {}{}", if self.is_tls { "grpcs://" } else { "" }, self.grpc)?;
        writeln!(f, "metrics  {metrics}://{}/metrics", self.metrics)
    }
}

/// The table of served models, what is not served and why, and a `curl` line.
pub(super) fn summary(engine: &Engine, manager: &Manager, addresses: &Addresses) -> String {
    let served = engine.served();
    let mut text = String::from("\n");
    text.push_str(&table(&served, manager));
    for entry in engine.index(false).iter().filter(|entry| !entry.reason.is_empty()) {
        let version = entry.version.map(|version| format!(" version {version}")).unwrap_or_default();
        text.push_str(&format!("not served: {}{version}: {}\n", entry.name, entry.reason));
    }
    if let Some(line) = served.iter().find_map(|servable| curl(servable, addresses)) {
        text.push_str(&format!("\n{line}\n"));
    }
    text
}

fn table(served: &[Arc<Servable>], manager: &Manager) -> String {
    let header = ["MODEL", "VERSION", "INPUTS", "OUTPUTS", "PROVIDER", "BATCHING", "LOADED IN", "BY"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(served.iter().map(|servable| row(servable, manager)));
    if manager.deployed_models().is_empty() {
        // Everything lies in plain repositories: there is nothing to tell apart.
        rows.iter_mut().for_each(|row| row[COLUMNS - 1].clear());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(servable: &Servable, manager: &Manager) -> [String; COLUMNS] {
    let tensors = |specs: &[crate::model::TensorSpec]| {
        let all: Vec<String> = specs.iter().map(|spec| spec.to_string().replace(", ", ",")).collect();
        all.join(", ")
    };
    let batching = match servable.max_batch_size {
        0 => "off".to_owned(),
        size => format!("up to {size}"),
    };
    [
        servable.name.to_string(),
        servable.version_text.to_string(),
        tensors(&servable.signature.inputs),
        tensors(&servable.signature.outputs),
        servable.config.runtime.provider.as_str().to_owned(),
        batching,
        format!("{:.0} ms", servable.load_duration.as_secs_f64() * 1e3),
        manager.deployed_origin(&servable.name).unwrap_or_else(|| "repository".to_owned()),
    ]
}

/// A request that works when pasted: every dynamic size is 1, every value 0 or empty. `None` when it would be long.
fn curl(servable: &Servable, addresses: &Addresses) -> Option<String> {
    let mut inputs = Vec::new();
    let mut total = 0usize;
    for spec in servable.signature.inputs.iter().filter(|spec| !spec.optional) {
        let shape: Vec<usize> =
            spec.wire_shape().iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
        let elements = shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim))?;
        total = total.checked_add(elements).filter(|total| *total <= CURL_ELEMENTS_MAX)?;
        let value = match spec.dtype {
            DataType::Bool => serde_json::json!(false),
            DataType::Bytes => serde_json::json!(""),
            _ => serde_json::json!(0),
        };
        let data = vec![value; elements];
        inputs.push(serde_json::json!(
            { "name": &*spec.name, "datatype": spec.dtype.as_str(), "shape": shape, "data": data }
        ));
    }
    let body = serde_json::json!({ "inputs": inputs }).to_string();
    let mut address = addresses.http;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    // Names come from model files: a quote in one must not end the shell's word.
    let body = body.replace('\'', "'\\''");
    let scheme = Addresses::scheme(addresses.is_tls);
    Some(format!("curl -s {scheme}://{address}/v2/models/{}/infer -d '{body}'", servable.name))
}
