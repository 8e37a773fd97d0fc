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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::panic::{catch_unwind, take_hook};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_and_is_counted() {
        let (lines, metrics) = (Lines::default(), Registry::new());
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        let earlier = take_hook();
        report_panics(&metrics).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            catch_unwind(|| assert_eq!(1 + 1, 3, "sums")).unwrap_err();
        });
        // Other tests panic on purpose; theirs may be among the counted ones, and not in these lines.
        set_hook(earlier);
        let line: serde_json::Value = serde_json::from_slice(&lines.0.lock()).unwrap();
        assert_eq!(line["level"], "ERROR");
        let message = line["message"].as_str().unwrap();
        assert!(
            message.starts_with("panicked, which is a defect of this program: ") && message.contains("sums")
        );
        assert!(line["place"].as_str().unwrap().starts_with(file!()), "{line}");
        assert!(line["thread"].as_str().unwrap().ends_with("a_panic_is_a_line_of_the_log_and_is_counted"));
        let text = String::from_utf8(metrics.expose().unwrap()).unwrap();
        assert!(text.contains("\nweir_panics_total ") && !text.contains("\nweir_panics_total 0"), "{text}");
    }
}
