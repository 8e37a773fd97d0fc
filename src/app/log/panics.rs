//! Panics as lines of the log and as a number. Each is a defect of this program, and costs the work it happened in: that
//! work is given up by whoever guards it, and everything else goes on.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};
use std::thread;

use prometheus::IntCounter;

use crate::metrics::{MetricsError, Registry};

/// Has every panic of the process logged and counted, instead of written to standard error in a form of its own.
///
/// With `RUST_BACKTRACE=1` the line holds the stack too.
///
/// # Errors
/// When the metric family is registered already.
pub(in crate::app) fn report_panics(metrics: &Registry) -> Result<(), MetricsError> {
    let help = "Panics: defects of this program, each of which cost the work it happened in.";
    let panics = metrics.counters("weir_panics_total", help, &[])?.with_label_values::<&str>(&[]);
    set_hook(Box::new(move |panic| report(panic, &panics)));
    Ok(())
}

fn report(panic: &PanicHookInfo<'_>, panics: &IntCounter) {
    panics.inc();
    let thread = thread::current();
    let stack = Backtrace::capture();
    tracing::error!(
        thread = thread.name(),
        place = panic.location().map(tracing::field::display),
        stack = (stack.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&stack)),
        "panicked, which is a defect of this program: {}",
        panic.payload_as_str().unwrap_or("(no text)"),
    );
}
