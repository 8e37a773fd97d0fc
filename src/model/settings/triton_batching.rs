//! Triton's `dynamic_batching`, as far as it applies: batches grow by themselves here, so most of it is a hint.

use std::time::Duration;

use super::Entry;
use super::keys::{PRIORITIES_MAX, QUEUE_DELAY_MAX, QUEUE_SIZE_MAX, TIMEOUT_MAX};
use super::triton::{Defect, Reading, at, messages, unknown_field};

pub(super) fn dynamic_batching(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for field in messages(entry)?.into_iter().flatten() {
        let line = field.line;
        match field.key.as_str() {
            "max_queue_delay_microseconds" => {
                reading.parsed.config.queue.delay = at(field, microseconds(field, QUEUE_DELAY_MAX))?;
                reading.note("queue.delay", line);
            }
            "priority_levels" => {
                reading.parsed.config.queue.priority_levels = at(field, field.node.small(0, PRIORITIES_MAX))?;
                reading.note("queue.priorities", line);
            }
            "default_priority_level" => {
                reading.parsed.config.queue.default_priority =
                    at(field, field.node.small(0, PRIORITIES_MAX))?;
                reading.note("queue.default_priority", line);
            }
            "default_queue_policy" => queue_policy(reading, field)?,
            "preferred_batch_size" => reading.ignore(field, "a free worker takes what is queued"),
            "preserve_ordering" => reading.ignore(field, "only a stream's answers are in order"),
            "priority_queue_policy" => reading.ignore(field, "all priorities share one queue policy"),
            _ => {
                return unknown_field(
                    field,
                    &[
                        "max_queue_delay_microseconds",
                        "priority_levels",
                        "default_priority_level",
                        "default_queue_policy",
                        "preferred_batch_size",
                        "preserve_ordering",
                        "priority_queue_policy",
                    ],
                );
            }
        }
    }
    Ok(())
}

fn queue_policy(reading: &mut Reading<'_>, entry: &Entry) -> Result<(), Defect> {
    for field in messages(entry)?.into_iter().flatten() {
        match field.key.as_str() {
            "max_queue_size" => {
                let size = at(field, field.node.count(0, QUEUE_SIZE_MAX))?;
                if size == 0 {
                    reading.ignore(field, "a queue always has a bound");
                } else {
                    reading.parsed.config.queue.size = size;
                    reading.note("queue.size", field.line);
                }
            }
            "default_timeout_microseconds" => {
                let timeout = at(field, microseconds(field, TIMEOUT_MAX))?;
                reading.parsed.config.queue.default_timeout =
                    Some(timeout).filter(|timeout| !timeout.is_zero());
                reading.note("queue.default_timeout", field.line);
            }
            "timeout_action" => {
                if at(field, field.node.one_of(&["REJECT", "DELAY"]))? == 1 {
                    reading.ignore(field, "a request whose deadline passed is always answered at once");
                }
            }
            "allow_timeout_override" => {
                if !at(field, field.node.truth())? {
                    reading.ignore(field, "a request may always state its own deadline");
                }
            }
            _ => {
                return unknown_field(
                    field,
                    &[
                        "max_queue_size",
                        "default_timeout_microseconds",
                        "timeout_action",
                        "allow_timeout_override",
                    ],
                );
            }
        }
    }
    Ok(())
}

fn microseconds(field: &Entry, max: Duration) -> Result<Duration, String> {
    let max_us = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
    field.node.whole(0, max_us).map(Duration::from_micros)
}
