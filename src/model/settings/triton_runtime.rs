//! Triton's `instance_group`, `optimization` and `parameters`: where instances run and how ONNX Runtime is set up.

use super::keys::{DEVICE_MAX, INSTANCES_MAX, THREADS_MAX};
use super::triton::{Defect, Reading, at, messages, unknown_field};
use super::values::shorten;
use super::{Entry, Value};
use crate::model::config::{GraphLevel, Provider};

/// Parameters of Triton's ONNX Runtime backend that are options of the CUDA provider under the same name.
const CUDA_OPTIONS: [&str; 6] = [
    "cudnn_conv_algo_search",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
    "cudnn_conv_use_max_workspace",
    "use_tf32",
];

pub(super) fn instance_group(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for fields in messages(entry)? {
        if reading.parsed.sources.contains_key("instances.count") {
            reading.ignore(entry, "only the first group is used");
            return Ok(());
        }
        reading.parsed.config.instances.count = Some(1);
        reading.note("instances.count", entry.line);
        for field in fields {
            group_field(reading, field)?;
        }
    }
    Ok(())
}

fn group_field(reading: &mut Reading<'_>, field: &Entry) -> Result<(), Defect> {
    match field.key.as_str() {
        "count" => {
            // 0 is what Triton writes for "not said".
            let count = at(field, field.node.count(0, INSTANCES_MAX))?;
            reading.parsed.config.instances.count = Some(count).filter(|count| *count > 0);
            reading.note("instances.count", field.line);
        }
        "kind" => match at(field, field.node.one_of(&["KIND_AUTO", "KIND_CPU", "KIND_GPU", "KIND_MODEL"]))? {
            1 => provider(reading, Provider::Cpu, field.line),
            2 => provider(reading, Provider::Cuda, field.line),
            3 => reading.ignore(field, "the provider decides where the model runs"),
            _ => {}
        },
        "gpus" => {
            let devices = field.node.items();
            if let Some(first) = devices.first() {
                reading.parsed.config.instances.device = at(field, first.small(0, DEVICE_MAX))?;
                reading.note("instances.device", field.line);
            }
            if devices.len() > 1 {
                reading.ignore(field, "a model runs on one device; the first is used");
            }
        }
        "name" => {}
        "rate_limiter" | "secondary_devices" | "profile" | "passive" | "host_policy" => {
            reading.ignore(field, "it does not apply to this server");
        }
        _ => return unknown_field(field, &["count", "kind", "gpus", "name"]),
    }
    Ok(())
}

fn provider(reading: &mut Reading<'_>, provider: Provider, line: usize) {
    reading.parsed.config.runtime.provider = provider;
    reading.note("runtime.provider", line);
}

pub(super) fn optimization(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for field in messages(entry)?.into_iter().flatten() {
        match field.key.as_str() {
            "graph" => graph(reading, field)?,
            "execution_accelerators" => {
                for list in messages(field)?.into_iter().flatten() {
                    accelerators(reading, list)?;
                }
            }
            "cuda" => cuda(reading, field)?,
            "priority"
            | "input_pinned_memory"
            | "output_pinned_memory"
            | "gather_kernel_buffer_threshold"
            | "eager_batching" => reading.ignore(field, "it does not apply to this server"),
            _ => return unknown_field(field, &["graph", "execution_accelerators", "cuda", "priority"]),
        }
    }
    Ok(())
}

/// Levels as Triton's ONNX Runtime backend reads them: -1 basic, 0 all, 1 extended, 2 none.
fn graph(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for field in messages(entry)?.into_iter().flatten() {
        if field.key != "level" {
            return unknown_field(field, &["level"]);
        }
        reading.parsed.config.runtime.graph_level = match &field.node.value {
            Value::Number(number) if number == "-1" => GraphLevel::Basic,
            Value::Number(number) if number == "0" => GraphLevel::All,
            Value::Number(number) if number == "1" => GraphLevel::Extended,
            Value::Number(number) if number == "2" => GraphLevel::Disabled,
            _ => return at(field, Err("expected -1, 0, 1 or 2".to_owned())),
        };
        reading.note("runtime.graph_level", field.line);
    }
    Ok(())
}

fn accelerators(reading: &mut Reading<'_>, list: &Entry) -> Result<(), Defect> {
    if !matches!(list.key.as_str(), "gpu_execution_accelerator" | "cpu_execution_accelerator") {
        return unknown_field(list, &["gpu_execution_accelerator", "cpu_execution_accelerator"]);
    }
    for fields in messages(list)? {
        let name = fields.iter().find(|field| field.key == "name");
        let name = name.map_or(Ok(""), |field| at(field, field.node.text()))?;
        if name != "cuda" {
            let reason =
                format!("the execution accelerator \"{}\" is not offered; \"cuda\" is", shorten(name));
            return Err((list.line, reason));
        }
        provider(reading, Provider::Cuda, list.line);
        for field in fields.iter().filter(|field| field.key == "parameters") {
            for (key, value) in pairs(field)? {
                reading.parsed.config.runtime.provider_options.insert(key, value);
            }
            reading.note("runtime.provider_options", field.line);
        }
    }
    Ok(())
}

fn cuda(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for field in messages(entry)?.into_iter().flatten() {
        if field.key == "graphs" {
            if at(field, field.node.truth())? {
                let options = &mut reading.parsed.config.runtime.provider_options;
                options.insert("enable_cuda_graph".to_owned(), "1".to_owned());
                reading.note("runtime.provider_options", field.line);
            }
        } else {
            reading.ignore(field, "it does not apply to this server");
        }
    }
    Ok(())
}

pub(super) fn parameters(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for (key, value) in pairs(entry)? {
        parameter(reading, entry, key, value)?;
    }
    Ok(())
}

fn parameter(reading: &mut Reading<'_>, entry: &Entry, key: String, value: String) -> Result<(), Defect> {
    let threads = || match value.parse::<usize>() {
        Ok(0) => Ok(None),
        Ok(count) if count <= THREADS_MAX => Ok(Some(count)),
        _ => {
            let value = shorten(&value);
            Err((
                entry.line,
                format!("\"{key}\": expected a whole number from 0 to {THREADS_MAX}, found \"{value}\""),
            ))
        }
    };
    let runtime = &mut reading.parsed.config.runtime;
    let path = match key.as_str() {
        "intra_op_thread_count" => {
            runtime.intra_threads = threads()?;
            "runtime.intra_threads"
        }
        "inter_op_thread_count" => {
            runtime.inter_threads = threads()?;
            "runtime.inter_threads"
        }
        key if CUDA_OPTIONS.contains(&key) => {
            runtime.provider_options.insert(key.to_owned(), value);
            "runtime.provider_options"
        }
        key if key.starts_with("session.") => {
            runtime.session_entries.insert(key.to_owned(), value);
            "runtime.session"
        }
        _ => {
            reading.parsed.config.parameters.insert(key, value);
            "parameters"
        }
    };
    reading.note(path, entry.line);
    Ok(())
}

/// Keys and values of a protobuf map: messages with `key` and `value`, or, in JSON, an object. A value may be a message
/// with `string_value`.
fn pairs(entry: &Entry) -> Result<Vec<(String, String)>, Defect> {
    let mut pairs = Vec::new();
    for fields in messages(entry)? {
        let find = |name: &str| fields.iter().find(|field| field.key == name);
        match (find("key"), find("value")) {
            (Some(key), value) => {
                let value = value.map_or(Ok(String::new()), parameter_value)?;
                pairs.push((at(key, key.node.scalar())?, value));
            }
            _ => {
                for field in fields {
                    pairs.push((field.key.clone(), parameter_value(field)?));
                }
            }
        }
    }
    Ok(pairs)
}

fn parameter_value(field: &Entry) -> Result<String, Defect> {
    match &field.node.value {
        Value::Table(inner) => match inner.iter().find(|inner| inner.key == "string_value") {
            Some(text) => at(text, text.node.scalar()),
            None => at(field, Err("expected string_value".to_owned())),
        },
        _ => at(field, field.node.scalar()),
    }
}
