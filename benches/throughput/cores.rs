//! Who computes where: servers and limits on the first half of the cores, the load generator with the
//! stores' processes on the others, so that neither takes time from what is measured (Linux; elsewhere, or
//! with one core, all share all).

use std::sync::LazyLock;

/// The cores of either side, by number. Must first be asked before anything is pinned.
pub(crate) static CORES: LazyLock<Cores> = LazyLock::new(Cores::divide);

pub(crate) struct Cores {
    pub(crate) server: Vec<usize>,
    pub(crate) load: Vec<usize>,
}

impl Cores {
    fn divide() -> Self {
        let all = affinity::allowed();
        let (server, load) = all.split_at(all.len() / 2);
        match server {
            [] => Self { server: all.clone(), load: all },
            _ => Self { server: server.to_vec(), load: load.to_vec() },
        }
    }

    pub(crate) fn apart(&self) -> bool {
        self.server != self.load
    }

    /// Does something on a thread that computes on the server's cores, as do threads and processes
    /// which it starts.
    pub(crate) fn as_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on(&self.server, work)
    }

    /// The same with a runtime of so many threads.
    pub(crate) fn run_as_server<T: Send>(&self, work: impl Future<Output = T> + Send) -> std::io::Result<T> {
        self.as_server(|| Ok(runtime(&self.server)?.block_on(work)))
    }

    /// The same on the load generator's cores.
    pub(crate) fn run_as_load<T: Send>(&self, work: impl Future<Output = T> + Send) -> std::io::Result<T> {
        on(&self.load, || Ok(runtime(&self.load)?.block_on(work)))
    }
    /// Leaves the server's cores to those threads of a process whose names begin so, and moves its others, and what
    /// they start, to the load generator's (Linux).
    pub(crate) fn move_others_apart(&self, process: u32, stay: &str) -> std::io::Result<()> {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?;
            let name = std::fs::read_to_string(thread.path().join("comm"))?;
            if let (false, Ok(number)) = (name.starts_with(stay), thread.file_name().to_string_lossy().parse()) {
                affinity::pin(Some(number), &self.load);
            }
        }
        Ok(())
    }
}

fn runtime(cores: &[usize]) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.len()).enable_all().build()
}

fn on<T: Send>(cores: &[usize], work: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        affinity::pin(None, cores);
        work()
    };
    std::thread::scope(|scope| match scope.spawn(pinned).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

    pub(super) fn allowed() -> Vec<usize> {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
    }

    /// A thread by its number; `None`: this one.
    pub(super) fn pin(thread: Option<i32>, cores: &[usize]) {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        // Fails only if a core was taken away since: measured unpinned, then.
        let _ = sched_setaffinity(thread.and_then(Pid::from_raw), &set);
    }
}

#[cfg(not(target_os = "linux"))]
mod affinity {
    pub(super) fn allowed() -> Vec<usize> {
        (0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).collect()
    }

    pub(super) fn pin(_: Option<i32>, _: &[usize]) {}
}
