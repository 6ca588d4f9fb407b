//! The machine's randomness, and this process's memory: nobody else asks the system about either. Its
//! clock is `clock`'s.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::authority::ports::Entropy;
pub use crate::clock::SystemClock;

/// The operating system's random number generator, through aws-lc.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the system has no randomness: no secret may be made without.
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the system's random number generator works");
    }
}

/// From here on no core dump holds this process's memory, and no other process of its user reads it
/// (ptrace, `/proc/PID/mem` and `environ`): keys and tokens are in there.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A limit of 0 does not stop a core that is piped to a program (core(5)); this does.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
