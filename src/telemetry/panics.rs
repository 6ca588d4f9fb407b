//! What a panic says: where it happened, and what the program itself worded. A message with values in it
//! may hold a secret, as one about text that was cut in the wrong place does, and stays unsaid.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{PanicHookInfo, set_hook};
use std::thread;

use tracing::{Level, enabled, error};

/// Has this process's panics told in this way from here on.
pub fn tell_without_values() {
    set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current().name().unwrap_or_default().to_owned();
    let said = constant(panic.payload());
    // If the operator wants one; it names functions and no values.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    if enabled!(Level::ERROR) {
        error!(place, thread, backtrace, "panicked: {said}");
    } else {
        // A command that talks to a server writes no log.
        let backtrace = backtrace.unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "error: panicked at {place}: {said}\n{backtrace}");
    }
}

fn constant(message: &(dyn Any + Send)) -> &'static str {
    message.downcast_ref().copied().unwrap_or("(a message with values, which is not repeated)")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PLANTED: &str = "planted-ü-token";

    /// What these tests of this program write, run by themselves in a process of their own: its hook is no
    /// other test's.
    fn written(test: &str) -> String {
        let mut own = Command::new(std::env::current_exe().expect("a program"));
        let test = format!("telemetry::panics::tests::{test}");
        let ended = own.args(["--exact", &test, "--ignored", "--nocapture"]).output().expect("runs");
        assert!(!ended.status.success(), "{ended:?}");
        String::from_utf8([ended.stdout, ended.stderr].concat()).expect("UTF-8")
    }

    #[test]
    fn a_panic_tells_its_place_and_no_value() {
        let place = format!("panicked at {}", file!());
        for test in ["cuts_text_in_a_letter", "expects_what_is_not"] {
            let written = written(test);
            assert!(written.contains(&place) && written.contains("a message with values"), "{written}");
            assert!(!written.contains("planted"), "{written}");
        }
        let written = written("says_what_the_program_worded");
        assert!(written.contains(&place) && written.contains("an invariant is broken"), "{written}");
    }

    #[test]
    #[ignore = "run by the test above, in another process"]
    fn cuts_text_in_a_letter() {
        tell_without_values();
        let _ = &PLANTED[..PLANTED.len().min(9)];
    }

    #[test]
    #[ignore = "run by the test above, in another process"]
    fn expects_what_is_not() {
        tell_without_values();
        PLANTED.parse::<u8>().expect(PLANTED);
    }

    #[test]
    #[ignore = "run by the test above, in another process"]
    fn says_what_the_program_worded() {
        tell_without_values();
        panic!("an invariant is broken");
    }
}
